// SPDX-License-Identifier: GPL-2.0
/*
 * Wait until nothing needs the code of a module that is being unloaded.
 */

#define pr_fmt(fmt) "module_drain: " fmt

#include <linux/bitops.h>
#include <linux/export.h>
#include <linux/minmax.h>
#include <linux/module.h>
#include <linux/module_drain.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/debug.h>
#include <linux/sched/task.h>
#include <linux/sched/task_stack.h>
#include <linux/stacktrace.h>
#include <linux/stop_machine.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

/**
 * DOC: module drain
 *
 * An object whose release callback is module code must not outlive the module.
 * The usual answer, a module reference held by every holder of the object,
 * makes the module impossible to remove until the object has been torn down by
 * other means. The drain is the other answer: the module goes when its user
 * says so, and waits on its way out.
 *
 * Unloading waits for two different things, at two different places:
 *
 * - For the objects, in the module's exit function with module_drain_wait(),
 *   after nothing can create new objects and before the first global is
 *   destroyed that a release callback may use.
 *
 * - For the text, after the exit function with module_drain_sync_text(). The
 *   count reaches zero while the task which dropped the last reference is still
 *   on its way out of the release callback, and possibly out of more code of
 *   the module that called it. Waiting for that in the exit function would be
 *   too early, as the exit function may well be what stops that code.
 *
 * Who owns objects of more than one module embeds one &struct module_drain per
 * module. Its memory must remain valid until module_drain_sync_text() has
 * returned.
 */

/* drain->flags: draining began and the count for the module is gone */
#define MODULE_DRAIN_CLOSED	0

/* When a wait is first reported; then each time it has doubled */
#define MODULE_DRAIN_REPORT_SECS	10

/**
 * module_drain_init - initialize a drain
 * @drain: the drain
 * @report: called while module_drain_wait() takes long, to tell what it waits for
 *
 * @report is called in process context for the first time after 10 seconds, and
 * then whenever the time has doubled. It may sleep.
 *
 * Context: Any.
 */
void module_drain_init(struct module_drain *drain, module_drain_report_t report)
{
	drain->report = report;
	refcount_set(&drain->count, 1);
	drain->flags = 0;
	init_completion(&drain->drained);
}
EXPORT_SYMBOL_GPL(module_drain_init);

/**
 * module_drain_closed - whether module_drain_wait() has been called
 * @drain: the drain
 *
 * Context: Any.
 * Return: true if there can be no new objects.
 */
bool module_drain_closed(struct module_drain *drain)
{
	return test_bit(MODULE_DRAIN_CLOSED, &drain->flags);
}
EXPORT_SYMBOL_GPL(module_drain_closed);

/**
 * module_drain_get - account for a new object
 * @drain: the drain
 *
 * Every object takes one count while it is created and gives it back with
 * module_drain_put() when it has been released. This is not for users of an
 * object, they have a reference on the object.
 *
 * Context: Any.
 * Return: true, or false if draining began and there must be no new object.
 */
bool module_drain_get(struct module_drain *drain)
{
	/*
	 * The flag turns away what comes after module_drain_wait() was called.
	 * A get which runs at the same time and misses the flag either finds
	 * the count at zero and fails too, or raises it from a value above
	 * zero, and then module_drain_wait() waits for this object as well: the
	 * count never leaves zero, and only zero ends the wait.
	 */
	return !module_drain_closed(drain) &&
	       refcount_inc_not_zero(&drain->count);
}
EXPORT_SYMBOL_GPL(module_drain_get);

/**
 * module_drain_count - the number of objects
 * @drain: the drain
 *
 * Context: Any. The number may be out of date by the time it is returned, or off
 * by one while the drain begins.
 * Return: how many objects have not been given back yet.
 */
unsigned int module_drain_count(struct module_drain *drain)
{
	bool closed = module_drain_closed(drain);
	unsigned int count = refcount_read(&drain->count);

	return closed || !count ? count : count - 1;
}
EXPORT_SYMBOL_GPL(module_drain_count);

/**
 * module_drain_put - an object is gone
 * @drain: the drain
 *
 * To be called when the object has been released and freed, as the last thing
 * that uses it or anything of the module. All that the caller did before is
 * visible to whom module_drain_wait() returns to.
 *
 * Context: Any but hard interrupt, where complete_all() is not allowed with
 * PREEMPT_RT.
 */
void module_drain_put(struct module_drain *drain)
{
	/*
	 * refcount_dec_and_test() orders all earlier puts before the one that
	 * reaches zero, and complete_all() orders that one before the waiters.
	 */
	if (refcount_dec_and_test(&drain->count))
		complete_all(&drain->drained);
}
EXPORT_SYMBOL_GPL(module_drain_put);

struct drain_report {
	struct delayed_work work;
	struct module_drain *drain;
	struct task_struct *waiter;
	unsigned int secs;
};

static void drain_report_fn(struct work_struct *work)
{
	struct drain_report *report = container_of(to_delayed_work(work),
						   struct drain_report, work);

	report->drain->report(report->drain, report->waiter, report->secs);

	queue_delayed_work(system_freezable_wq, &report->work, report->secs * HZ);
	report->secs *= 2;
}

/**
 * module_drain_wait - allow no new objects and wait until all are released
 * @drain: the drain
 * @state: TASK_IDLE, and how the wait may be frozen: TASK_FREEZABLE, or
 *	TASK_FREEZABLE_UNSAFE if the caller holds locks and knows why it may
 *
 * May be called more than once and at the same time, all callers wait. There
 * is no way back: module_drain_get() fails from now on.
 *
 * The wait ends when every object was given back with module_drain_put(), no
 * matter how long that takes and which signals arrive. It counts neither as load
 * nor as a hung task. If it takes long, it says so, see module_drain_init().
 *
 * Context: May sleep. The caller must not hold a lock that a release callback
 * takes, nor be a release callback.
 */
void module_drain_wait(struct module_drain *drain, unsigned int state)
{
	struct drain_report report = {
		.drain = drain,
		.waiter = current,
		.secs = MODULE_DRAIN_REPORT_SECS,
	};

	might_sleep();

	if (!test_and_set_bit(MODULE_DRAIN_CLOSED, &drain->flags))
		module_drain_put(drain);

	/* This also waits for a complete_all() that is still at it. */
	if (completion_done(&drain->drained))
		return;

	INIT_DELAYED_WORK_ONSTACK(&report.work, drain_report_fn);
	queue_delayed_work(system_freezable_wq, &report.work, report.secs * HZ);

	/* TASK_IDLE does not look at signals, the wait cannot fail. */
	wait_for_completion_state(&drain->drained, state);

	cancel_delayed_work_sync(&report.work);
	destroy_delayed_work_on_stack(&report.work);
}
EXPORT_SYMBOL_GPL(module_drain_wait);

#ifdef CONFIG_MODULE_DRAIN_STACKS

/*
 * Looking at all tasks, one after the other, is enough. The exit function has
 * returned and there is no object left, so nothing calls into the module
 * anymore: the only way into its text is to return there. A task which was once
 * seen with no return address into the text, on a stack that could be read in
 * full, has none to return to. It can neither get one from elsewhere, nor from a
 * task that it creates or that creates it, as a new task starts with a stack of
 * its own. So it stays outside, and it does not matter when the others are seen.
 * A task without a pid is past all its functions, and one that is given another
 * pid meanwhile is in execve().
 *
 * Nothing calls into the module: that includes functions elsewhere which were
 * given a callback by the module, unless they return there. What a function of
 * the module calls as its very last action (the compiler makes it a jump then)
 * after its last put must not have callbacks into the module.
 *
 * What runs on no task's stack, or on that of the idle task, are interrupts and
 * softirqs. These are RCU read-side critical sections, and there is a grace
 * period before module text is freed.
 */

struct text_walk {
	struct module *mod;
	/* When it began, and how long after that to report */
	unsigned long start, report;
	struct task_struct *task;
	/* Whether the task was ever seen inside, and whether it slept when looked at last */
	bool inside, asleep;
};

static bool text_walk_entry(void *data, unsigned long addr)
{
	struct text_walk *walk = data;
	bool found = within_module(addr, walk->mod);

	walk->inside |= found;

	return !found;
}

/*
 * Called with the task pinned in the state that it is in. Return addresses are
 * looked at as they are found, so that no stack is too deep.
 */
static int text_walk_task(struct task_struct *task, void *data)
{
	struct text_walk *walk = data;

	walk->asleep = !task_is_runnable(task);
	if (task_curr(task))
		return -EBUSY;

	return arch_stack_walk_reliable(text_walk_entry, data, task);
}

/*
 * Called in the stopper thread of the CPU the task was running on. That thread
 * has taken its place, so its registers are on its stack now, be it from user
 * mode or from kernel code that was preempted.
 */
static int text_walk_stopped(void *data)
{
	struct text_walk *walk = data;

	return task_call_func(walk->task, text_walk_task, walk);
}

/*
 * Wait until the task was seen outside. It need not be inside until then: its
 * stack may be one that cannot be read reliably at the moment, or the task may
 * have moved to another CPU while this one was asked. So look again later.
 *
 * Some stacks cannot be read for as long as the task sleeps: in generated code,
 * or below a fault that was taken in kernel mode, where the architecture cannot
 * follow the stack through the exception. It is hardly this module's then, which
 * must not wait for ever. It would be if its own code took the fault, on user
 * memory, and sleeps there for longer than the report takes to come.
 *
 * But a task that was seen inside once has to come out. And one that does not
 * sleep is waited for: it will, or go on to where it can be read. Only one that
 * is interrupted in kernel mode each time, and never leaves it, holds this up for
 * ever, where exceptions cannot be followed. So it would a Tasks RCU grace period.
 */
static void text_walk_wait(struct text_walk *walk)
{
	struct task_struct *task = walk->task;
	long timeout = 1;
	int ret;

	walk->inside = false;
	for (;;) {
		/* Without a stack a task is past its last function. */
		if (!try_get_task_stack(task))
			return;

		ret = task_call_func(task, text_walk_task, walk);
		if (ret == -EBUSY)
			ret = stop_one_cpu(task_cpu(task), text_walk_stopped, walk);
		put_task_stack(task);
		if (!ret)
			return;

		/* Each task is looked at some times, be it the last of many */
		if (timeout == HZ / 10 && time_after(jiffies, walk->start + walk->report)) {
			pr_warn("%s:%d has waited for %u s to free the text of module %s, %s:%d %s:\n",
				current->comm, task_pid_nr(current),
				jiffies_to_msecs(jiffies - walk->start) / 1000,
				module_name(walk->mod), task->comm, task_pid_nr(task),
				walk->inside ? "is in it" : "has no stack that can be read");
			sched_show_task(task);
			if (walk->asleep && !walk->inside)
				return;
			walk->report *= 2;
		}

		/*
		 * Unsafe, since the module notifiers' lock is usually held. That
		 * stops who registers a notifier, and who comes after that, no
		 * less if this task is not frozen.
		 */
		set_current_state(TASK_IDLE | TASK_FREEZABLE_UNSAFE);
		schedule_timeout(timeout);
		timeout = min(2 * timeout, HZ / 10);
	}
}

static struct task_struct *text_walk_next(int *nr)
{
	struct task_struct *task = NULL;
	struct pid *pid;

	guard(rcu)();

	while (!task) {
		pid = find_ge_pid(*nr, &init_pid_ns);
		if (!pid)
			return NULL;
		*nr = pid_nr(pid) + 1;
		task = get_pid_task(pid, PIDTYPE_PID);
	}

	return task;
}

/**
 * module_drain_sync_text - wait until no task is in a module's text anymore
 * @mod: the module
 *
 * When this returns, no task has a return address in the text of @mod on its
 * stack. That includes those that called module_drain_put() for the last object,
 * and those that dropped other references on it: whatever code of the module
 * they came from, they are out of it. They may have slept there in between.
 *
 * The current task is not looked at.
 *
 * This takes a few microseconds for each task in the system, plus the time until
 * the last one has left. After ten seconds, those who have not are reported; one
 * that sleeps with a stack that cannot be read, and was never seen inside, is then
 * taken to be outside. So code of @mod that takes a page fault after its put must
 * not sleep there for that long, unless the architecture can follow stacks through
 * exceptions (x86 with the ORC unwinder can). Where stacks cannot be read reliably at all
 * (!CONFIG_MODULE_DRAIN_STACKS) it is a Tasks RCU grace period instead, some
 * ten milliseconds. That covers code which neither sleeps nor reschedules
 * voluntarily between its put and its end; with PREEMPT_RT, taking a contended
 * spinlock is sleeping.
 *
 * Context: May sleep. To be called when nothing calls into the module anymore,
 * that is after its exit function, and before its text is freed.
 */
void module_drain_sync_text(struct module *mod)
{
	struct text_walk walk = {
		.mod = mod,
		.start = jiffies,
		.report = MODULE_DRAIN_REPORT_SECS * HZ,
	};
	int nr = 1;

	might_sleep();

	/* Built-in code stays. */
	if (!mod)
		return;

	pr_info_once("module text is freed when no task has it on its stack\n");

	while ((walk.task = text_walk_next(&nr))) {
		if (walk.task != current)
			text_walk_wait(&walk);
		put_task_struct(walk.task);
		cond_resched();
	}
}

#else /* no reliable stack traces */

void module_drain_sync_text(struct module *mod)
{
	might_sleep();

	if (!mod)
		return;

	/*
	 * A task that was preempted in module text has not called schedule()
	 * itself, hence is still in its Tasks RCU read-side critical section.
	 * Without PREEMPTION this is a normal grace period, which ends only when
	 * every CPU has been through the scheduler, idle, or in user mode.
	 */
	pr_info_once("module text is freed after a Tasks RCU grace period\n");
	synchronize_rcu_tasks();
}

#endif
EXPORT_SYMBOL_GPL(module_drain_sync_text);
