// SPDX-License-Identifier: GPL-2.0
/*
 * Wait until the objects whose release is code of a module have been released.
 */

#define pr_fmt(fmt) "module_drain: " fmt

#include <kunit/visibility.h>

#include <linux/bitops.h>
#include <linux/cgroup.h>
#include <linux/export.h>
#include <linux/lockdep.h>
#include <linux/module.h>
#include <linux/module_drain.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/workqueue.h>

/**
 * DOC: module drain
 *
 * An object whose release callback is module code must not outlive the module.
 * The usual answer is that every holder of the object takes a module reference,
 * which makes the module impossible to remove until the object has been torn
 * down by other means. The drain is the other answer: the module is removed when
 * its user asks for that, and its exit function waits for the objects.
 *
 * A subsystem that owns objects of several modules keeps one &struct
 * module_drain for each of them. The module's exit function calls
 * module_drain_wait() when nothing can create new objects, and before it
 * destroys the first global that a release callback may use.
 *
 * Drains are for references that the kernel holds. What user space holds, such
 * as an open file, has to pin the module as ever, so that removing the module
 * fails instead of waiting for a file which the waiting task itself may have
 * open.
 *
 * The count reaches zero while the task that dropped the last reference is still
 * on its way out of the release callback, and possibly out of more code of the
 * module that called it. The module loader waits for that after the exit
 * function. It also waits for the objects of modules that did not call
 * module_drain_wait(), and it frees the drains.
 */

/* drain->flags: draining began, and the count for the module is gone */
#define MODULE_DRAIN_CLOSED	0

/* When a wait is first reported, in seconds. The time doubles with each report. */
#define MODULE_DRAIN_REPORT_SECS	10

/* Makes the drains of a module different in their operations */
static DEFINE_MUTEX(module_drain_mutex);

/**
 * module_drain_find - the drain that counts a subsystem's objects of a module
 * @mod: the module
 * @ops: the subsystem's operations
 *
 * Context: Any. The caller makes sure that the module stays.
 * Return: the drain, or NULL if there was no module_drain_add() with these @ops.
 */
struct module_drain *module_drain_find(struct module *mod, const struct module_drain_ops *ops)
{
	struct module_drain *drain;

	llist_for_each_entry(drain, READ_ONCE(mod->drains.first), node) {
		if (drain->ops == ops)
			return drain;
	}

	return NULL;
}
EXPORT_SYMBOL_GPL(module_drain_find);

static void module_drain_init(struct module_drain *drain, struct module *mod,
			      const struct module_drain_ops *ops)
{
	lockdep_assert_held(&module_drain_mutex);

	drain->mod = mod;
	drain->ops = ops;
	drain->flags = 0;
	refcount_set(&drain->count, 1);
	init_completion(&drain->drained);
	llist_add(&drain->node, &mod->drains);
}

/**
 * module_drain_add - start to count a subsystem's objects of a module
 * @drain: the drain, at the start of memory from kmalloc(), which the module loader
 *	frees with the module
 * @mod: the module
 * @ops: the subsystem's operations
 *
 * Context: May sleep. The caller makes sure that the module stays, and that its
 * exit function has not returned.
 * Return: @drain, or the drain that the module has for @ops already.
 */
struct module_drain *module_drain_add(struct module_drain *drain, struct module *mod,
				      const struct module_drain_ops *ops)
{
	struct module_drain *old;

	guard(mutex)(&module_drain_mutex);

	old = module_drain_find(mod, ops);
	if (old)
		return old;

	module_drain_init(drain, mod, ops);

	return drain;
}
EXPORT_SYMBOL_GPL(module_drain_add);

/**
 * module_drain_owner - the module that some static data is part of
 * @data: the data, for instance a structure of callbacks
 *
 * Context: Any. The caller makes sure that the module stays.
 * Return: the module, or NULL if @data is built in or was allocated.
 */
struct module *module_drain_owner(const void *data)
{
	guard(rcu)();

	return __module_address((unsigned long)data);
}
EXPORT_SYMBOL_GPL(module_drain_owner);

static bool module_drain_closed(struct module_drain *drain)
{
	return test_bit(MODULE_DRAIN_CLOSED, &drain->flags);
}

/**
 * module_drain_get - account for a new object
 * @drain: the drain
 *
 * Every object takes one count while it is created and gives it back with
 * module_drain_put() when it has been released. Users of an object do not call
 * this, they take references on the object.
 *
 * Context: Any.
 * Return: true, or false if draining began and there must be no new object.
 */
bool module_drain_get(struct module_drain *drain)
{
	/*
	 * A get that runs together with module_drain_wait() and misses the flag
	 * either finds the count at zero and fails too, or raises it from above
	 * zero. The wait then includes this object: the count does not leave
	 * zero, and only zero ends the wait.
	 */
	return !module_drain_closed(drain) &&
	       refcount_inc_not_zero(&drain->count);
}
EXPORT_SYMBOL_GPL(module_drain_get);

/**
 * module_drain_count - the number of objects
 * @drain: the drain
 *
 * Context: Any. The number may be out of date when it is returned, and off by
 * one while the drain begins.
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
 * Called when the object has been released and freed, as the last step that uses
 * the object or anything of the module. Everything the caller did before is
 * visible to the task that returns from module_drain_wait(). Code of the module
 * that gets here may sleep on its way out (not without CONFIG_MODULE_DRAIN_STACKS,
 * see module_drain_gate()), and use call_rcu(). It must not use what the exit
 * function destroys after module_drain_wait(), nor queue work, timers or threads of
 * the module, nor end with a call to a function elsewhere that calls back into the
 * module or uses its data: compilers make a jump of that.
 *
 * Context: Any but hard interrupt, where PREEMPT_RT does not allow
 * complete_all().
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
	struct module_drain *drain = report->drain;

	pr_warn("%s:%d has waited for %u s until the %s of module %s are released:\n",
		report->waiter->comm, task_pid_nr(report->waiter), report->secs,
		drain->ops->name, module_name(drain->mod));
	drain->ops->report(drain);

	queue_delayed_work(system_freezable_wq, &report->work, report->secs * HZ);
	report->secs *= 2;
}

/*
 * For the module loader, too, which may be killed: with TASK_WAKEKILL in @state, a
 * fatal signal ends the wait, and the return value is not 0.
 */
int module_drain_wait_state(struct module_drain *drain, unsigned int state)
{
	struct drain_report report = {
		.drain = drain,
		.waiter = current,
		.secs = MODULE_DRAIN_REPORT_SECS,
	};
	int ret;

	might_sleep();

	if (!test_and_set_bit(MODULE_DRAIN_CLOSED, &drain->flags))
		module_drain_put(drain);

	INIT_DELAYED_WORK_ONSTACK(&report.work, drain_report_fn);
	queue_delayed_work(system_freezable_wq, &report.work, report.secs * HZ);

	/* The freezer of cgroup v2 must not wait for this task. */
	cgroup_enter_frozen();
	ret = wait_for_completion_state(&drain->drained, state);
	cgroup_leave_frozen(true);

	cancel_delayed_work_sync(&report.work);
	destroy_delayed_work_on_stack(&report.work);

	return ret;
}
EXPORT_SYMBOL_IF_KUNIT(module_drain_wait_state);

/**
 * module_drain_wait - allow no new objects and wait until all are released
 * @drain: the drain
 *
 * Several tasks may call this, one after the other or at the same time, and all
 * of them wait. There is no way back: module_drain_get() fails from now on.
 *
 * The wait ends when every object was given back with module_drain_put(), no
 * matter how long that takes and which signals arrive. The waiting task can be
 * frozen and counts neither as load nor as hung. A wait of 10 seconds is reported
 * with &module_drain_ops.report, and again whenever its time has doubled.
 *
 * Context: May sleep. The caller is an exit or init function of the module, not a
 * release callback. It holds no lock that a release callback takes, nor one that a
 * holder takes before it drops its reference.
 */
void module_drain_wait(struct module_drain *drain)
{
	/* TASK_IDLE ignores signals, the wait cannot fail. */
	module_drain_wait_state(drain, TASK_IDLE | TASK_FREEZABLE);
}
EXPORT_SYMBOL_GPL(module_drain_wait);
