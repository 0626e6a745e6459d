// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests for the module drain
 */

#include <kunit/test.h>

#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/hrtimer.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/module_drain.h>
#include <linux/sched/signal.h>

/* How long a waiter that must not return is watched */
#define STILL_WAITING_MS	50
/* How long a waiter that must return may take */
#define RETURNED_MS		10000

struct waiter {
	struct module_drain *drain;
	struct completion returned;
	bool busy;
	struct task_struct *task;
};

struct module_drain_test {
	struct module_drain drain;
	struct waiter waiters[2];
};

static int waiter_fn(void *data)
{
	struct waiter *waiter = data;

	waiter->busy = module_drain_wait(waiter->drain);
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

/* Sleeping in module_drain_wait(), as far as one can tell from outside */
static bool still_waiting(struct waiter *waiter)
{
	msleep(STILL_WAITING_MS);

	return !completion_done(&waiter->returned) &&
	       READ_ONCE(waiter->task->__state) & TASK_UNINTERRUPTIBLE;
}

static bool returned(struct waiter *waiter)
{
	return wait_for_completion_timeout(&waiter->returned,
					   msecs_to_jiffies(RETURNED_MS));
}

static void module_drain_test_wait_without_objects(struct kunit *test)
{
	struct module_drain_test *ctx = test->priv;

	KUNIT_EXPECT_FALSE(test, module_drain_wait(&ctx->drain));
}

static void module_drain_test_wait_after_last_put(struct kunit *test)
{
	struct module_drain_test *ctx = test->priv;

	KUNIT_ASSERT_TRUE(test, module_drain_get(&ctx->drain));
	module_drain_put(&ctx->drain);

	KUNIT_EXPECT_FALSE(test, module_drain_wait(&ctx->drain));
}

static void module_drain_test_last_put_leaves_open(struct kunit *test)
{
	struct module_drain_test *ctx = test->priv;

	KUNIT_ASSERT_TRUE(test, module_drain_get(&ctx->drain));
	module_drain_put(&ctx->drain);

	KUNIT_EXPECT_TRUE(test, module_drain_get(&ctx->drain));
	module_drain_put(&ctx->drain);
}

static void module_drain_test_get_fails_after_wait(struct kunit *test)
{
	struct module_drain_test *ctx = test->priv;

	module_drain_wait(&ctx->drain);

	KUNIT_EXPECT_FALSE(test, module_drain_get(&ctx->drain));
}

static void module_drain_test_get_fails_during_wait(struct kunit *test)
{
	struct module_drain_test *ctx = test->priv;
	struct waiter *waiter = &ctx->waiters[0];

	KUNIT_ASSERT_TRUE(test, module_drain_get(&ctx->drain));
	start_waiter(test, waiter);
	KUNIT_EXPECT_TRUE(test, still_waiting(waiter));

	KUNIT_EXPECT_FALSE(test, module_drain_get(&ctx->drain));

	module_drain_put(&ctx->drain);
	KUNIT_EXPECT_TRUE(test, returned(waiter));
}

static void module_drain_test_wait_for_every_object(struct kunit *test)
{
	struct module_drain_test *ctx = test->priv;
	struct waiter *waiter = &ctx->waiters[0];

	KUNIT_ASSERT_TRUE(test, module_drain_get(&ctx->drain));
	KUNIT_ASSERT_TRUE(test, module_drain_get(&ctx->drain));
	start_waiter(test, waiter);
	KUNIT_EXPECT_TRUE(test, still_waiting(waiter));

	module_drain_put(&ctx->drain);
	KUNIT_EXPECT_TRUE(test, still_waiting(waiter));

	module_drain_put(&ctx->drain);
	KUNIT_ASSERT_TRUE(test, returned(waiter));
	KUNIT_EXPECT_TRUE(test, waiter->busy);
}

static void module_drain_test_two_waiters(struct kunit *test)
{
	struct module_drain_test *ctx = test->priv;

	KUNIT_ASSERT_TRUE(test, module_drain_get(&ctx->drain));
	start_waiter(test, &ctx->waiters[0]);
	KUNIT_EXPECT_TRUE(test, still_waiting(&ctx->waiters[0]));
	start_waiter(test, &ctx->waiters[1]);
	KUNIT_EXPECT_TRUE(test, still_waiting(&ctx->waiters[1]));

	/* The second wait must not have taken the module's count once more. */
	KUNIT_EXPECT_FALSE(test, completion_done(&ctx->waiters[0].returned));

	module_drain_put(&ctx->drain);
	KUNIT_ASSERT_TRUE(test, returned(&ctx->waiters[0]));
	KUNIT_ASSERT_TRUE(test, returned(&ctx->waiters[1]));
	KUNIT_EXPECT_TRUE(test, ctx->waiters[0].busy);
	KUNIT_EXPECT_FALSE(test, ctx->waiters[1].busy);
}

static void module_drain_test_wait_again(struct kunit *test)
{
	struct module_drain_test *ctx = test->priv;

	module_drain_wait(&ctx->drain);

	KUNIT_EXPECT_FALSE(test, module_drain_wait(&ctx->drain));
}

static void module_drain_test_signal(struct kunit *test)
{
	struct module_drain_test *ctx = test->priv;
	struct waiter *waiter = &ctx->waiters[0];

	KUNIT_ASSERT_TRUE(test, module_drain_get(&ctx->drain));
	start_waiter(test, waiter);
	KUNIT_EXPECT_TRUE(test, still_waiting(waiter));

	send_sig(SIGKILL, waiter->task, 1);
	KUNIT_EXPECT_TRUE(test, still_waiting(waiter));

	module_drain_put(&ctx->drain);
	KUNIT_EXPECT_TRUE(test, returned(waiter));
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

	KUNIT_ASSERT_TRUE(test, module_drain_get(&ctx->drain));
	start_waiter(test, waiter);
	KUNIT_EXPECT_TRUE(test, still_waiting(waiter));

	hrtimer_start(&timer_put->timer, ms_to_ktime(1), HRTIMER_MODE_REL_SOFT);
	KUNIT_EXPECT_TRUE(test, returned(waiter));

	hrtimer_cancel(&timer_put->timer);
	KUNIT_EXPECT_TRUE(test, timer_put->in_softirq);
}

static int module_drain_test_init(struct kunit *test)
{
	struct module_drain_test *ctx;

	ctx = kunit_kzalloc(test, sizeof(*ctx), GFP_KERNEL);
	if (!ctx)
		return -ENOMEM;

	module_drain_init(&ctx->drain);
	test->priv = ctx;

	return 0;
}

static void module_drain_test_exit(struct kunit *test)
{
	struct module_drain_test *ctx = test->priv;

	if (!ctx)
		return;

	for (int i = 0; i < ARRAY_SIZE(ctx->waiters); i++) {
		if (!ctx->waiters[i].task)
			continue;
		/* The task must be out of this code before it can go away. */
		kthread_stop(ctx->waiters[i].task);
		put_task_struct(ctx->waiters[i].task);
	}
}

static struct kunit_case module_drain_test_cases[] = {
	KUNIT_CASE(module_drain_test_wait_without_objects),
	KUNIT_CASE(module_drain_test_wait_after_last_put),
	KUNIT_CASE(module_drain_test_last_put_leaves_open),
	KUNIT_CASE(module_drain_test_get_fails_after_wait),
	KUNIT_CASE(module_drain_test_get_fails_during_wait),
	KUNIT_CASE(module_drain_test_wait_for_every_object),
	KUNIT_CASE(module_drain_test_two_waiters),
	KUNIT_CASE(module_drain_test_wait_again),
	KUNIT_CASE(module_drain_test_signal),
	KUNIT_CASE(module_drain_test_last_put_from_softirq),
	{}
};

static struct kunit_suite module_drain_test_suite = {
	.name = "module_drain",
	.init = module_drain_test_init,
	.exit = module_drain_test_exit,
	.test_cases = module_drain_test_cases,
};

kunit_test_suite(module_drain_test_suite);

MODULE_DESCRIPTION("KUnit tests for the module drain");
MODULE_LICENSE("GPL");
