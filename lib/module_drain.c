// SPDX-License-Identifier: GPL-2.0
/*
 * Wait until nothing needs the code of a module that is being unloaded.
 */

#include <linux/bitops.h>
#include <linux/export.h>
#include <linux/kernel.h>
#include <linux/module_drain.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>

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

/**
 * module_drain_init - initialize a drain
 * @drain: the drain
 *
 * Context: Any.
 */
void module_drain_init(struct module_drain *drain)
{
	refcount_set(&drain->count, 1);
	drain->flags = 0;
	init_completion(&drain->drained);
}
EXPORT_SYMBOL_GPL(module_drain_init);

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
	return !test_bit(MODULE_DRAIN_CLOSED, &drain->flags) &&
	       refcount_inc_not_zero(&drain->count);
}
EXPORT_SYMBOL_GPL(module_drain_get);

/**
 * module_drain_put - an object is gone
 * @drain: the drain
 *
 * To be called when the object has been released and freed, as the last thing
 * that uses it or anything of the module. All that the caller did before is
 * visible to whom module_drain_wait() returns.
 *
 * Context: Any but hard interrupt, see complete_all().
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

/**
 * module_drain_wait - allow no new objects and wait until all are released
 * @drain: the drain
 *
 * May be called more than once and at the same time, all callers wait. There
 * is no way back: module_drain_get() fails from now on.
 *
 * The wait ends when every object was given back with module_drain_put(), no
 * matter how long that takes and which signals arrive. It counts neither as
 * load nor as a hung task and does not keep the system from suspending.
 *
 * Context: May sleep. The caller must not hold a lock that a release callback
 * takes, nor be a release callback.
 * Return: true if this call was the first one and found objects to wait for.
 */
bool module_drain_wait(struct module_drain *drain)
{
	bool busy = false;

	might_sleep();

	if (!test_and_set_bit(MODULE_DRAIN_CLOSED, &drain->flags)) {
		module_drain_put(drain);
		busy = !completion_done(&drain->drained);
	}

	/* TASK_IDLE leaves signals pending, the wait cannot fail */
	wait_for_completion_state(&drain->drained, TASK_IDLE | TASK_FREEZABLE);

	return busy;
}
EXPORT_SYMBOL_GPL(module_drain_wait);

/**
 * module_drain_sync_text - wait until the code around past puts has been left
 *
 * When this returns, every task that called module_drain_put() before has
 * returned from it and from all of its callers, unless one of these slept or
 * rescheduled voluntarily after the call: the code between a put that may be
 * the last one and the end of the module's outermost function must not do so.
 *
 * Context: May sleep, usually for some ten milliseconds. To be called after the
 * exit function of a module has returned and before its text is freed.
 */
void module_drain_sync_text(void)
{
	/*
	 * A task in module text that was preempted there has not called
	 * schedule() itself, hence is still in its Tasks RCU read-side critical
	 * section. Without PREEMPTION this is a normal grace period, during
	 * which every CPU has left the kernel code it was running.
	 */
	synchronize_rcu_tasks();
}
EXPORT_SYMBOL_GPL(module_drain_sync_text);
