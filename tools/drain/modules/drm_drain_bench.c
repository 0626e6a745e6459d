// SPDX-License-Identifier: GPL-2.0
/*
 * What the last gate of a module costs, with many tasks in the system
 */

#include <linux/kprobes.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/module.h>
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

/* From its entry to its return, for each module that is unloaded */
static int bench_entry(struct kretprobe_instance *ri, struct pt_regs *regs)
{
	*(ktime_t *)ri->data = ktime_get();

	return 0;
}

static int bench_return(struct kretprobe_instance *ri, struct pt_regs *regs)
{
	pr_info("%u tasks: gate %lld us\n", bench_count(),
		ktime_us_delta(ktime_get(), *(ktime_t *)ri->data));

	return 0;
}

static struct kretprobe bench_kretprobe = {
	.kp.symbol_name = "module_drain_gate",
	.entry_handler = bench_entry,
	.handler = bench_return,
	.data_size = sizeof(ktime_t),
};

static struct task_struct **task;

static void bench_stop(unsigned int n)
{
	while (n--)
		kthread_stop(task[n]);
	kvfree(task);
}

static int __init bench_init(void)
{
	ktime_t start;
	unsigned int n;
	int ret;

	task = kvcalloc(tasks, sizeof(*task), GFP_KERNEL);
	if (tasks && !task)
		return -ENOMEM;

	for (n = 0; n < tasks; n++) {
		task[n] = kthread_run(bench_task, NULL, "bench");
		if (IS_ERR(task[n])) {
			ret = PTR_ERR(task[n]);
			bench_stop(n);
			return ret;
		}
	}

	ret = register_kretprobe(&bench_kretprobe);
	if (ret) {
		bench_stop(n);
		return ret;
	}

	for (n = 0; n < rounds; n++) {
		start = ktime_get();
		synchronize_rcu_tasks();
		pr_info("%u tasks: Tasks RCU %lld us\n", bench_count(),
			ktime_us_delta(ktime_get(), start));
	}

	return 0;
}

static void __exit bench_exit(void)
{
	unregister_kretprobe(&bench_kretprobe);
	bench_stop(tasks);
}

module_init(bench_init);
module_exit(bench_exit);

MODULE_DESCRIPTION("Cost of the last gate of a module");
MODULE_LICENSE("GPL");
