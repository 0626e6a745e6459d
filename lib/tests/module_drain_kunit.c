// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests for the module drain
 */

#include <kunit/test.h>

#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/hrtimer.h>
#include <linux/kthread.h>
#include <linux/llist.h>
#include <linux/module.h>
#include <linux/module_drain.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/swait.h>

/* How long a waiter that must not return is watched, once it waits */
#define STILL_WAITING_MS	20
/* How long a waiter that must wait, or return, may take to get there */
#define DEADLINE_MS		20000
/* How long two tasks race, and how often at least */
#define RACE_MS			2000
#define RACE_ROUNDS		200

struct waiter {
	struct module_drain *drain;
	/* As the module loader waits */
	bool killable;
	int ret;
	struct completion returned;
	struct task_struct *task;
};

struct module_drain_test {
	struct module module;
	struct module_drain drain;
	struct completion reported;
	/* What the report waits for, as one on a slow console does */
	struct completion printed;
	/* What a failed test has not given back */
	int objects;
	struct waiter waiters[2];
};

static void report(struct module_drain *drain)
{
	struct module_drain_test *ctx = container_of(drain, struct module_drain_test, drain);

	complete(&ctx->reported);
	wait_for_completion_timeout(&ctx->printed, msecs_to_jiffies(DEADLINE_MS));
}

static const struct module_drain_ops ops = {
	.name = "mock objects",
	.report = report,
};

static const struct module_drain_ops other_ops = {
	.name = "other objects",
};

static bool get_object(struct kunit *test)
{
	struct module_drain_test *ctx = test->priv;

	if (!module_drain_get(&ctx->drain))
		return false;
	ctx->objects++;

	return true;
}

static void put_object(struct kunit *test)
{
	struct module_drain_test *ctx = test->priv;

	ctx->objects--;
	module_drain_put(&ctx->drain);
}

static int waiter_fn(void *data)
{
	struct waiter *waiter = data;

	/* Kernel threads ignore signals otherwise. */
	allow_signal(SIGKILL);

	if (waiter->killable)
		waiter->ret = module_drain_wait_state(waiter->drain, TASK_IDLE | TASK_WAKEKILL);
	else
		module_drain_wait(waiter->drain);
	complete(&waiter->returned);

	return 0;
}

static void start_waiter(struct kunit *test, struct waiter *waiter)
{
	struct module_drain_test *ctx = test->priv;
	struct task_struct *task;

	waiter->drain = &ctx->drain;
	init_completion(&waiter->returned);
	task = kthread_create(waiter_fn, waiter, "module_drain_test");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, task);

	waiter->task = get_task_struct(task);
	wake_up_process(task);
}

/* Is asleep in module_drain_wait(), and stays there */
static bool waits(struct waiter *waiter)
{
	unsigned long deadline = jiffies + msecs_to_jiffies(DEADLINE_MS);

	while (!(READ_ONCE(waiter->task->__state) & TASK_UNINTERRUPTIBLE)) {
		if (completion_done(&waiter->returned) || time_after(jiffies, deadline))
			return false;
		fsleep(1000);
	}
	msleep(STILL_WAITING_MS);

	return !completion_done(&waiter->returned);
}

static bool returned(struct waiter *waiter)
{
	return wait_for_completion_timeout(&waiter->returned, msecs_to_jiffies(DEADLINE_MS));
}

static void module_drain_test_wait_without_objects(struct kunit *test)
{
	struct module_drain_test *ctx = test->priv;

	start_waiter(test, &ctx->waiters[0]);
	KUNIT_EXPECT_TRUE(test, returned(&ctx->waiters[0]));
}

static void module_drain_test_wait_after_last_put(struct kunit *test)
{
	struct module_drain_test *ctx = test->priv;

	KUNIT_ASSERT_TRUE(test, get_object(test));
	put_object(test);

	start_waiter(test, &ctx->waiters[0]);
	KUNIT_EXPECT_TRUE(test, returned(&ctx->waiters[0]));
}

static void module_drain_test_last_put_leaves_open(struct kunit *test)
{
	KUNIT_ASSERT_TRUE(test, get_object(test));
	put_object(test);

	KUNIT_EXPECT_TRUE(test, get_object(test));
	put_object(test);
}

static void module_drain_test_get_fails_after_wait(struct kunit *test)
{
	struct module_drain_test *ctx = test->priv;

	start_waiter(test, &ctx->waiters[0]);
	KUNIT_ASSERT_TRUE(test, returned(&ctx->waiters[0]));

	KUNIT_EXPECT_FALSE(test, get_object(test));
}

/* One that has seen the drain open, and comes when all is over */
static void module_drain_test_late_get(struct kunit *test)
{
	struct module_drain_test *ctx = test->priv;

	start_waiter(test, &ctx->waiters[0]);
	KUNIT_ASSERT_TRUE(test, returned(&ctx->waiters[0]));

	ctx->drain.flags = 0;
	KUNIT_EXPECT_FALSE(test, get_object(test));
	KUNIT_EXPECT_EQ(test, module_drain_count(&ctx->drain), 0);
}

static void module_drain_test_get_fails_during_wait(struct kunit *test)
{
	struct module_drain_test *ctx = test->priv;
	struct waiter *waiter = &ctx->waiters[0];

	KUNIT_ASSERT_TRUE(test, get_object(test));
	start_waiter(test, waiter);
	KUNIT_EXPECT_TRUE(test, waits(waiter));

	KUNIT_EXPECT_FALSE(test, get_object(test));

	put_object(test);
	KUNIT_EXPECT_TRUE(test, returned(waiter));
}

static void module_drain_test_wait_for_every_object(struct kunit *test)
{
	struct module_drain_test *ctx = test->priv;
	struct waiter *waiter = &ctx->waiters[0];

	KUNIT_ASSERT_TRUE(test, get_object(test));
	KUNIT_ASSERT_TRUE(test, get_object(test));
	start_waiter(test, waiter);
	KUNIT_EXPECT_TRUE(test, waits(waiter));

	put_object(test);
	KUNIT_EXPECT_TRUE(test, waits(waiter));

	put_object(test);
	KUNIT_EXPECT_TRUE(test, returned(waiter));
}

static void module_drain_test_two_waiters(struct kunit *test)
{
	struct module_drain_test *ctx = test->priv;

	KUNIT_ASSERT_TRUE(test, get_object(test));
	start_waiter(test, &ctx->waiters[0]);
	KUNIT_EXPECT_TRUE(test, waits(&ctx->waiters[0]));
	start_waiter(test, &ctx->waiters[1]);
	KUNIT_EXPECT_TRUE(test, waits(&ctx->waiters[1]));

	/* The second wait must not have taken the module's count once more. */
	KUNIT_EXPECT_FALSE(test, completion_done(&ctx->waiters[0].returned));

	put_object(test);
	KUNIT_EXPECT_TRUE(test, returned(&ctx->waiters[0]));
	KUNIT_EXPECT_TRUE(test, returned(&ctx->waiters[1]));
	KUNIT_EXPECT_EQ(test, module_drain_count(&ctx->drain), 0);
}

/* Who finds no objects waits all the same, until nobody needs the drain any more. */
static void module_drain_test_wait_during_last_put(struct kunit *test)
{
	struct module_drain_test *ctx = test->priv;

	KUNIT_ASSERT_TRUE(test, get_object(test));
	start_waiter(test, &ctx->waiters[0]);
	KUNIT_EXPECT_TRUE(test, waits(&ctx->waiters[0]));

	/* The two steps of module_drain_put() */
	ctx->objects--;
	KUNIT_EXPECT_TRUE(test, refcount_dec_and_test(&ctx->drain.count));
	start_waiter(test, &ctx->waiters[1]);
	KUNIT_EXPECT_TRUE(test, waits(&ctx->waiters[1]));
	complete_all(&ctx->drain.drained);

	KUNIT_EXPECT_TRUE(test, returned(&ctx->waiters[0]));
	KUNIT_EXPECT_TRUE(test, returned(&ctx->waiters[1]));
}

static void module_drain_test_wait_again(struct kunit *test)
{
	struct module_drain_test *ctx = test->priv;

	start_waiter(test, &ctx->waiters[0]);
	KUNIT_ASSERT_TRUE(test, returned(&ctx->waiters[0]));

	start_waiter(test, &ctx->waiters[1]);
	KUNIT_EXPECT_TRUE(test, returned(&ctx->waiters[1]));
}

static void module_drain_test_signal(struct kunit *test)
{
	struct module_drain_test *ctx = test->priv;
	struct waiter *waiter = &ctx->waiters[0];

	KUNIT_ASSERT_TRUE(test, get_object(test));
	start_waiter(test, waiter);
	KUNIT_EXPECT_TRUE(test, waits(waiter));

	send_sig(SIGKILL, waiter->task, 1);
	KUNIT_ASSERT_TRUE(test, signal_pending(waiter->task));
	KUNIT_EXPECT_TRUE(test, waits(waiter));

	put_object(test);
	KUNIT_EXPECT_TRUE(test, returned(waiter));
}

static void module_drain_test_count(struct kunit *test)
{
	struct module_drain_test *ctx = test->priv;
	struct waiter *waiter = &ctx->waiters[0];

	KUNIT_EXPECT_EQ(test, module_drain_count(&ctx->drain), 0);
	KUNIT_ASSERT_TRUE(test, get_object(test));
	KUNIT_EXPECT_EQ(test, module_drain_count(&ctx->drain), 1);

	start_waiter(test, waiter);
	KUNIT_EXPECT_TRUE(test, waits(waiter));
	KUNIT_EXPECT_EQ(test, module_drain_count(&ctx->drain), 1);

	put_object(test);
	KUNIT_EXPECT_TRUE(test, returned(waiter));
	KUNIT_EXPECT_EQ(test, module_drain_count(&ctx->drain), 0);
}

static void module_drain_test_reports(struct kunit *test)
{
	struct module_drain_test *ctx = test->priv;
	struct waiter *waiter = &ctx->waiters[0];

	KUNIT_ASSERT_TRUE(test, get_object(test));
	start_waiter(test, waiter);

	KUNIT_EXPECT_NE(test, 0, wait_for_completion_timeout(&ctx->reported,
							     msecs_to_jiffies(DEADLINE_MS)));

	/* The report uses what is the waiter's. */
	put_object(test);
	KUNIT_EXPECT_TRUE(test, waits(waiter));

	complete(&ctx->printed);
	KUNIT_EXPECT_TRUE(test, returned(waiter));
}

static void module_drain_test_find(struct kunit *test)
{
	struct module_drain_test *ctx = test->priv;
	struct module_drain other;

	KUNIT_EXPECT_PTR_EQ(test, module_drain_find(&ctx->module, &ops), &ctx->drain);
	KUNIT_EXPECT_NULL(test, module_drain_find(&ctx->module, &other_ops));

	KUNIT_EXPECT_PTR_EQ(test, module_drain_add(&other, &ctx->module, &ops), &ctx->drain);
	KUNIT_EXPECT_PTR_EQ(test, module_drain_add(&other, &ctx->module, &other_ops), &other);
	KUNIT_EXPECT_PTR_EQ(test, module_drain_find(&ctx->module, &ops), &ctx->drain);
	KUNIT_EXPECT_PTR_EQ(test, module_drain_find(&ctx->module, &other_ops), &other);
}

/* What was allocated belongs to no module, and this test to its own, if it is one. */
static void module_drain_test_owner(struct kunit *test)
{
	KUNIT_EXPECT_NULL(test, module_drain_owner(test->priv));
	KUNIT_EXPECT_PTR_EQ(test, module_drain_owner(&ops), THIS_MODULE);
}

static void module_drain_test_killed(struct kunit *test)
{
	struct module_drain_test *ctx = test->priv;
	struct waiter *waiter = &ctx->waiters[0];

	KUNIT_ASSERT_TRUE(test, get_object(test));
	waiter->killable = true;
	start_waiter(test, waiter);
	KUNIT_EXPECT_TRUE(test, waits(waiter));

	send_sig(SIGKILL, waiter->task, 1);
	KUNIT_EXPECT_TRUE(test, returned(waiter));
	KUNIT_EXPECT_NE(test, waiter->ret, 0);

	put_object(test);
}

struct timer_put {
	struct hrtimer timer;
	struct module_drain *drain;
	bool in_softirq;
};

static enum hrtimer_restart timer_put_fn(struct hrtimer *timer)
{
	struct timer_put *timer_put = container_of(timer, struct timer_put, timer);

	timer_put->in_softirq = in_serving_softirq();
	module_drain_put(timer_put->drain);

	return HRTIMER_NORESTART;
}

static void module_drain_test_last_put_from_softirq(struct kunit *test)
{
	struct module_drain_test *ctx = test->priv;
	struct waiter *waiter = &ctx->waiters[0];
	struct timer_put *timer_put;

	timer_put = kunit_kzalloc(test, sizeof(*timer_put), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, timer_put);
	timer_put->drain = &ctx->drain;
	hrtimer_setup(&timer_put->timer, timer_put_fn, CLOCK_MONOTONIC,
		      HRTIMER_MODE_REL_SOFT);

	KUNIT_ASSERT_TRUE(test, get_object(test));
	start_waiter(test, waiter);
	KUNIT_EXPECT_TRUE(test, waits(waiter));

	/* The timer gives it back. */
	ctx->objects--;
	hrtimer_start(&timer_put->timer, ms_to_ktime(1), HRTIMER_MODE_REL_SOFT);
	KUNIT_EXPECT_TRUE(test, returned(waiter));

	hrtimer_cancel(&timer_put->timer);
	KUNIT_EXPECT_TRUE(test, timer_put->in_softirq);
}

struct adder {
	struct module *module;
	/* What the test adds, and what the task of the adder does */
	struct module_drain drains[2];
	struct module_drain *added;
	/* The last round that has begun, and the last one that is over */
	unsigned int begin;
	unsigned int end;
};

static int adder_fn(void *data)
{
	struct adder *adder = data;

	while (!kthread_should_stop()) {
		/* Sees what the test has set up */
		if (smp_load_acquire(&adder->begin) == adder->end) {
			cpu_relax();
			cond_resched();
			continue;
		}
		adder->added = module_drain_add(&adder->drains[1], adder->module, &ops);
		/* The test sees what was added. */
		smp_store_release(&adder->end, adder->end + 1);
	}

	return 0;
}

/* As soon as it can be found */
static struct module_drain *find_added(struct adder *adder)
{
	struct module_drain *drain;
	bool over;

	do {
		cpu_relax();
		cond_resched();
		/* If so, it must be there. */
		over = smp_load_acquire(&adder->end) == adder->begin;
		drain = module_drain_find(adder->module, &ops);
	} while (!drain && !over);

	return drain;
}

/* There is one drain, no matter who is first, and who finds it can use it. */
static void module_drain_test_add_race(struct kunit *test)
{
	unsigned long deadline = jiffies + msecs_to_jiffies(RACE_MS);
	struct module_drain_test *ctx = test->priv;
	bool same = true, usable = true;
	struct module_drain *drain;
	struct task_struct *task;
	unsigned int round = 0;
	struct adder *adder;

	adder = kunit_kzalloc(test, sizeof(*adder), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, adder);
	adder->module = &ctx->module;
	task = kthread_run(adder_fn, adder, "module_drain_test");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, task);

	while (same && usable && (round < RACE_ROUNDS || time_before(jiffies, deadline))) {
		init_llist_head(&ctx->module.drains);
		memset(adder->drains, 0xff, sizeof(adder->drains));
		round++;
		/* All is set up. */
		smp_store_release(&adder->begin, round);

		if (round % 2) {
			drain = module_drain_add(&adder->drains[0], &ctx->module, &ops);
		} else {
			drain = find_added(adder);
			/* The list of waiters is set up last. 0xff is not empty. */
			usable = drain && !swait_active(&drain->drained.wait);
		}

		/* Sees what was added */
		while (smp_load_acquire(&adder->end) != round) {
			cpu_relax();
			cond_resched();
		}
		same = drain == adder->added;
	}
	kthread_stop(task);

	KUNIT_EXPECT_TRUE(test, same);
	KUNIT_EXPECT_TRUE(test, usable);
}

static int module_drain_test_init(struct kunit *test)
{
	struct module_drain_test *ctx;

	ctx = kunit_kzalloc(test, sizeof(*ctx), GFP_KERNEL);
	if (!ctx)
		return -ENOMEM;

	strscpy(ctx->module.name, "mock");
	/* Memory from kmalloc() need not be zeroed. */
	memset(&ctx->drain, 0xff, sizeof(ctx->drain));
	module_drain_add(&ctx->drain, &ctx->module, &ops);
	init_completion(&ctx->reported);
	init_completion(&ctx->printed);
	test->priv = ctx;

	return 0;
}

static void module_drain_test_exit(struct kunit *test)
{
	struct module_drain_test *ctx = test->priv;

	if (!ctx)
		return;

	complete_all(&ctx->printed);
	/* Let go of all that a failed test left behind before waiting for it. */
	while (ctx->objects)
		put_object(test);

	for (int i = 0; i < ARRAY_SIZE(ctx->waiters); i++) {
		if (!ctx->waiters[i].task)
			continue;
		kthread_stop(ctx->waiters[i].task);
		put_task_struct(ctx->waiters[i].task);
	}
}

static struct kunit_case module_drain_test_cases[] = {
	KUNIT_CASE(module_drain_test_wait_without_objects),
	KUNIT_CASE(module_drain_test_wait_after_last_put),
	KUNIT_CASE(module_drain_test_last_put_leaves_open),
	KUNIT_CASE(module_drain_test_get_fails_after_wait),
	KUNIT_CASE(module_drain_test_late_get),
	KUNIT_CASE(module_drain_test_get_fails_during_wait),
	KUNIT_CASE(module_drain_test_wait_for_every_object),
	KUNIT_CASE(module_drain_test_two_waiters),
	KUNIT_CASE(module_drain_test_wait_during_last_put),
	KUNIT_CASE(module_drain_test_wait_again),
	KUNIT_CASE(module_drain_test_signal),
	KUNIT_CASE(module_drain_test_killed),
	KUNIT_CASE(module_drain_test_find),
	KUNIT_CASE(module_drain_test_owner),
	KUNIT_CASE(module_drain_test_count),
	KUNIT_CASE_SLOW(module_drain_test_reports),
	KUNIT_CASE(module_drain_test_last_put_from_softirq),
	KUNIT_CASE_SLOW(module_drain_test_add_race),
	{}
};

static struct kunit_suite module_drain_test_suite = {
	.name = "module_drain",
	.init = module_drain_test_init,
	.exit = module_drain_test_exit,
	.test_cases = module_drain_test_cases,
};

kunit_test_suite(module_drain_test_suite);

MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");
MODULE_DESCRIPTION("KUnit tests for the module drain");
MODULE_LICENSE("GPL");
