// SPDX-License-Identifier: GPL-2.0
/*
 * A module with counted objects, which outlive its exit function
 */

#include <linux/array_size.h>
#include <linux/atomic.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/module.h>
#include <linux/module_drain.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/srcu.h>
#include <linux/workqueue.h>

#include "test_drain.h"

static bool wait;
module_param(wait, bool, 0444);
MODULE_PARM_DESC(wait, "Wait for the objects on exit");

static unsigned int hold_ms;
module_param(hold_ms, uint, 0444);
MODULE_PARM_DESC(hold_ms, "How long after the exit the first object is held, in ms");

static unsigned int tail_ms;
module_param(tail_ms, uint, 0444);
MODULE_PARM_DESC(tail_ms, "How long a worker sleeps in this module after it dropped the last reference, in ms");

static bool busy;
module_param(busy, bool, 0444);
MODULE_PARM_DESC(busy, "Let it not sleep, but compute; if it is no thread, another one drops the reference");

static bool thread;
module_param(thread, bool, 0444);
MODULE_PARM_DESC(thread, "Let it be a kernel thread on the last processor, with the lowest priority; and another one, asleep for twice as long, if it is not busy");

static bool probed;
module_param(probed, bool, 0444);
MODULE_PARM_DESC(probed, "Have a kprobe in what the busy worker does");

static unsigned int callback_ms;
module_param(callback_ms, uint, 0444);
MODULE_PARM_DESC(callback_ms, "How long RCU callbacks take that the worker or the timer queues, in ms");

static unsigned int timer_ms;
module_param(timer_ms, uint, 0444);
MODULE_PARM_DESC(timer_ms, "How long a timer of another module stays in this one after it dropped the last reference, in ms");

static unsigned int both_ms;
module_param(both_ms, uint, 0444);
MODULE_PARM_DESC(both_ms, "If not 0, have an object of the other subsystem, too, held for so long, in ms");

static int init_fails_ms = -1;
module_param(init_fails_ms, int, 0444);
MODULE_PARM_DESC(init_fails_ms, "If not negative, let the init function fail after so long, when there are objects");

static bool pin;
module_param(pin, bool, 0444);
MODULE_PARM_DESC(pin, "Have a reference on the module that nobody drops");

static struct test_object objects[2];

static void release(struct test_object *object)
{
	pr_info("object %td is released\n", object - objects);
}

/* Not mdelay(), which emulated processors are far too fast, or too slow, for. */
static void stay(unsigned int ms)
{
	ktime_t end = ktime_add_ms(ktime_get(), ms);

	while (ktime_before(ktime_get(), end))
		cpu_relax();
}

/* So many that they need not all be called at a time */
static struct rcu_head heads[200];
static atomic_t callbacks = ATOMIC_INIT(ARRAY_SIZE(heads));

static void callback_fn(struct rcu_head *head)
{
	stay(callback_ms / ARRAY_SIZE(heads));
	if (atomic_dec_and_test(&callbacks))
		pr_info("callbacks return\n");
}

static void queue_callbacks(void)
{
	for (int i = 0; callback_ms && i < ARRAY_SIZE(heads); i++)
		call_rcu(&heads[i], callback_fn);
}

/* Goes when the module is known to be going, before its text */
DEFINE_STATIC_SRCU(srcu);

static void timer_fn(void)
{
	test_object_put(&objects[0]);
	scoped_guard(srcu, &srcu)
		stay(timer_ms);
	queue_callbacks();
	pr_info("timer returns\n");
}

static void tail_fn(struct work_struct *work)
{
	msleep(hold_ms);
	test_object_put(&objects[0]);
	queue_callbacks();
	msleep(tail_ms);
	pr_info("worker returns\n");
}

static DECLARE_WORK(tail_work, tail_fn);

static unsigned long busy_until;
static bool is_busy;

#ifdef CONFIG_X86_64
extern char test_drain_probed[];

/* Most of the time, this is in one instruction, which a kprobe that is optimised copies. */
static __always_inline void stay_probed(void)
{
	static char area[65536];
	size_t count = sizeof(area);
	char *to = area;

	asm volatile("test_drain_probed: rep stosb; .rept 8; nop; .endr"
		     : "+D" (to), "+c" (count) : "a" (0) : "memory");
}
#else
#define test_drain_probed	NULL
static void stay_probed(void)
{
	barrier();
}
#endif

/* This has called nothing, and not slept since it was. Interrupts are deep on its stack. */
static void busy_fn(struct work_struct *work)
{
	u8 deep[1024];

	barrier_data(deep);
	WRITE_ONCE(is_busy, true);
	while (time_before(jiffies, busy_until)) {
		if (probed)
			stay_probed();
		barrier();
	}
	pr_info("worker returns\n");
}

static DECLARE_WORK(busy_work, busy_fn);

static void put_when_busy(void)
{
	busy_until = jiffies + msecs_to_jiffies(tail_ms);
	queue_work_on(cpumask_last(cpu_online_mask), system_percpu_wq, &busy_work);
	while (!READ_ONCE(is_busy))
		cond_resched();
	test_object_put(&objects[0]);
}

static int thread_fn(void *unused)
{
	unsigned long end = jiffies + msecs_to_jiffies(tail_ms);
	u64 ran;

	sched_set_normal(current, MAX_NICE);
	test_object_put(&objects[0]);
	ran = current->se.sum_exec_runtime;
	if (!busy)
		msleep(tail_ms);
	while (time_before(jiffies, end))
		barrier();
	ran = current->se.sum_exec_runtime - ran;
	pr_info("thread returns, ran for %llu ms\n", div_u64(ran, NSEC_PER_MSEC));

	return 0;
}

static int second_thread_fn(void *unused)
{
	msleep(2 * tail_ms);
	pr_info("second thread returns\n");

	return 0;
}

static int no_thread_fn(void *unused)
{
	return 0;
}

/* After a number that will be free, with the one that is not looked at if any is left out */
static struct task_struct *start_threads(void)
{
	struct task_struct *task;

	if (!busy)
		kthread_run(no_thread_fn, NULL, "test_drain_no");
	task = kthread_create_on_cpu(thread_fn, NULL, cpumask_last(cpu_online_mask),
				     "test_drain_tail/%u");
	if (!busy)
		kthread_run(second_thread_fn, NULL, "test_drain_second");

	return task;
}

static void drop(void)
{
	struct task_struct *task = ERR_PTR(-ENOMEM);

	if (thread)
		task = start_threads();
	if (!IS_ERR(task))
		wake_up_process(task);
	else if (busy)
		put_when_busy();
	else if (tail_ms)
		queue_work_on(cpumask_last(cpu_online_mask), system_percpu_wq, &tail_work);
	else if (timer_ms)
		test_call_in_timer(timer_fn, hold_ms);
	else
		test_object_put_later(&objects[0], hold_ms);
	if (both_ms)
		test_object_put_later(&objects[1], both_ms);
}

static int __init test_drain_user_init(void)
{
	int ret;

	if (probed) {
		ret = test_probe(test_drain_probed);
		if (ret)
			return ret;
	}

	for (int i = 0; i <= !!both_ms; i++) {
		objects[i].release = release;
		ret = test_object_init(&objects[i], THIS_MODULE, i);
		if (ret)
			return ret;
	}

	if (pin)
		__module_get(THIS_MODULE);

	if (init_fails_ms >= 0) {
		msleep(init_fails_ms);
		drop();
		return -ENODEV;
	}

	return 0;
}

static void __exit test_drain_user_exit(void)
{
	drop();
	if (wait)
		test_objects_wait(THIS_MODULE, 0);
	pr_info("exit returns\n");
}

module_init(test_drain_user_init);
module_exit(test_drain_user_exit);

MODULE_DESCRIPTION("Module with objects that outlive its exit function");
MODULE_LICENSE("GPL");
