// SPDX-License-Identifier: GPL-2.0
/*
 * What it costs to wait for a module's text, with many tasks in the system
 */

#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/module_drain.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/wait.h>

static unsigned int tasks;
module_param(tasks, uint, 0444);
MODULE_PARM_DESC(tasks, "Number of sleeping tasks to have in addition to those that are there");

static unsigned int rounds = 5;
module_param(rounds, uint, 0444);
MODULE_PARM_DESC(rounds, "How often to measure");

static DECLARE_WAIT_QUEUE_HEAD(bench_wait);

static int bench_task(void *data)
{
	wait_event_idle(bench_wait, kthread_should_stop());

	return 0;
}

static unsigned int bench_count(void)
{
	struct task_struct *group, *task;
	unsigned int count = 0;

	guard(rcu)();
	for_each_process_thread(group, task)
		count++;

	return count;
}

static int __init bench_init(void)
{
	struct task_struct **task __free(kvfree) = kvcalloc(tasks, sizeof(*task), GFP_KERNEL);
	struct module *nobody __free(kfree) = kzalloc_obj(*nobody);
	unsigned int n, i;
	ktime_t t[3];

	if (!task || !nobody)
		return -ENOMEM;

	for (n = 0; n < tasks; n++) {
		task[n] = kthread_run(bench_task, NULL, "bench");
		if (IS_ERR(task[n]))
			break;
	}

	for (i = 0; n == tasks && i < rounds; i++) {
		t[0] = ktime_get();
		module_drain_sync_text(nobody);
		t[1] = ktime_get();
		synchronize_rcu_tasks();
		t[2] = ktime_get();
		pr_info("%u tasks: stacks %lld us, Tasks RCU %lld us\n", bench_count(),
			ktime_us_delta(t[1], t[0]), ktime_us_delta(t[2], t[1]));
	}

	while (n--)
		kthread_stop(task[n]);

	/* Nothing to keep. */
	return -EAGAIN;
}

module_init(bench_init);

MODULE_DESCRIPTION("Cost of waiting for a module's text");
MODULE_LICENSE("GPL");
