// SPDX-License-Identifier: GPL-2.0
/*
 * The torture test of draining: who holds devices, and who judges
 *
 * This module stays. Victims and their helpers come and go, see drm_drain_victim0.c. What
 * happens to them is told by tools/drain/guest/torture.c, which writes to a file:
 *
 *   hold ID DEVICE CONTEXT TAIL WHERE DEFERRED CREATES LATE BEFORE_MS TAIL_MS ADDRESS
 *   put                     what this file holds, now; otherwise that is done on release
 *   wait SLOT               as a tail that is late does
 *   begin                   forget what was counted and measured so far
 *   bound TICKS             how long an unload may take when there is nothing to wait for
 *   frozen 1|0              tasks are being frozen, so nothing is late
 *   sleep TICKS             before a module is judged, so that it is late
 *
 * The judges look at the order of events, and need no crash. They are
 *
 *   text    in the text of a module that is about to be freed is a task or an interrupt,
 *           or an RCU callback of it is still to come
 *   device  a device is not released when drm_module_drain() has returned, or when the
 *           module is about to be freed
 *   create  a device could be created although the drain had begun
 *   refuse  a device could not be created although the module was not being unloaded
 *   late    an unload took long after the last event that it could have waited for
 *
 * A module that is about to be freed is judged by a module notifier, which the loader calls
 * after its gate. If there is a violation, the notifier waits until nobody is in the
 * module: then the test can go on, and count.
 *
 * "Long" is measured in steps of a thread that sleeps for a jiffy in each: a machine that is
 * busy with something else makes both slow.
 */

#define pr_fmt(fmt) "torture: " fmt

#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/device/faux.h>
#include <linux/fs.h>
#include <linux/kprobes.h>
#include <linux/kthread.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/module_drain.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/srcu.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include <drm/drm_drv.h>

#include "drm_drain_torture.h"

/* What a report of each kind of violation says at most */
#define TORTURE_REPORTS	10

/* How long a tail waits for an exit function, in ms; and if it must not sleep */
#define TORTURE_LIMIT_MS	5000
#define TORTURE_LIMIT_BUSY_MS	200

/* How long a tail may be that must not sleep, in ms */
#define TORTURE_BUSY_MS		20

enum torture_phase {
	PHASE_GONE,
	PHASE_LIVE,
	PHASE_EXIT,	/* the exit function is running */
	PHASE_LEFT,	/* it has returned */
	TORTURE_PHASES
};

static const char * const phase_names[] = {
	[PHASE_GONE] = "gone",
	[PHASE_LIVE] = "live",
	[PHASE_EXIT] = "exit",
	[PHASE_LEFT] = "left",
};

static const char * const context_names[] = {
	[IN_WORKER] = "worker",
	[IN_KTHREAD] = "kthread",
	[IN_USER] = "user",
	[IN_RELEASE] = "release",
	[IN_TIMER] = "timer",
	[IN_HRTIMER] = "hrtimer",
	[IN_IRQ_WORK] = "irq_work",
	[IN_RCU] = "rcu",
	[IN_SRCU] = "srcu",
};

static const char * const tail_names[] = {
	[TAIL_NONE] = "none",
	[TAIL_BUSY] = "busy",
	[TAIL_RCU] = "rcu",
	[TAIL_ASLEEP] = "asleep",
	[TAIL_MUTEX] = "mutex",
	[TAIL_DEEP] = "deep",
	[TAIL_PROBED] = "probed",
	[TAIL_FAULT] = "fault",
};

static const char * const where_names[] = {
	[IN_VICTIM] = "victim",
	[IN_HELPER] = "helper",
	[IN_BOTH] = "both",
};

enum torture_judge {
	JUDGE_TEXT,
	JUDGE_DEVICE,
	JUDGE_CREATE,
	JUDGE_REFUSE,
	JUDGE_LATE,
	TORTURE_JUDGES
};

static const char * const judge_names[] = {
	[JUDGE_TEXT] = "text",
	[JUDGE_DEVICE] = "device",
	[JUDGE_CREATE] = "create",
	[JUDGE_REFUSE] = "refuse",
	[JUDGE_LATE] = "late",
};

static_assert(ARRAY_SIZE(context_names) == TORTURE_CONTEXTS);
static_assert(ARRAY_SIZE(tail_names) == TORTURE_TAILS);
static_assert(ARRAY_SIZE(where_names) == TORTURE_WHERES);
static_assert(ARRAY_SIZE(judge_names) == TORTURE_JUDGES);

/* A module, or the place for one */
struct torture_slot {
	struct module *mod;
	const struct torture_victim_ops *ops;
	void (*help)(struct torture_actor *actor);
	enum torture_phase phase;
	struct list_head devices;	/* protected by torture_lock */
	atomic_t live;
	/* How many are in the text, by their tails */
	atomic_t inside[TORTURE_TAILS];
	/* Those of them that are no tasks */
	atomic_t interrupts;
	/* When something happened that an unload could have waited for */
	unsigned long last;
};

static struct torture_slot slots[TORTURE_SLOTS];
static DEFINE_MUTEX(torture_lock);

/* What was counted since "begin". The names in stats are those of the arrays. */
static atomic_t violations[TORTURE_JUDGES];
static atomic_t puts[TORTURE_CONTEXTS];		/* all */
static atomic_t drained[TORTURE_CONTEXTS];	/* while an exit function was running */
static atomic_t tails[TORTURE_TAILS];
static atomic_t gated[TORTURE_TAILS];		/* inside when an exit function returned */
static atomic_t helper_gated[TORTURE_TAILS];	/* inside when a helper's exit function returned */
static atomic_t interrupts_gated;		/* those that are no tasks */
static atomic_t wheres[TORTURE_WHERES];
static atomic_t created[TORTURE_PHASES];
static atomic_t refused[TORTURE_PHASES];
static atomic_t user_leaders, user_threads, exiting, deferred, left_devices;
static atomic_t unloads, helper_unloads, failed_inits, actors;
static unsigned long longest;

static unsigned long bound = ULONG_MAX;
static unsigned int judge_sleeps;

/* The clock of this test */
static unsigned long ticks;
static bool frozen;

static LLIST_HEAD(torture_done);
static struct faux_device *torture_faux;
DEFINE_STATIC_SRCU(torture_srcu);

static unsigned long now(void)
{
	return READ_ONCE(ticks);
}

static void happened(struct torture_slot *slot)
{
	WRITE_ONCE(slot->last, now());
}

static __printf(2, 3) void violation(enum torture_judge judge, const char *fmt, ...)
{
	struct va_format vaf = { .fmt = fmt };
	va_list args;

	if (atomic_inc_return(&violations[judge]) > TORTURE_REPORTS)
		return;
	va_start(args, fmt);
	vaf.va = &args;
	pr_err("VIOLATION %s: %pV\n", judge_names[judge], &vaf);
	va_end(args);
}

/* The module */

int torture_loads(unsigned int nr, struct module *mod, const struct torture_victim_ops *ops,
		  void (*help)(struct torture_actor *actor))
{
	struct torture_slot *slot = &slots[nr];

	if (nr >= TORTURE_SLOTS)
		return -EINVAL;

	guard(mutex)(&torture_lock);
	if (slot->phase != PHASE_GONE)
		return -EBUSY;
	slot->mod = mod;
	slot->ops = ops;
	slot->help = help;
	WRITE_ONCE(slot->phase, PHASE_LIVE);

	return 0;
}
EXPORT_SYMBOL_GPL(torture_loads);

void torture_device_comes(unsigned int id, struct torture_device *tdev)
{
	guard(mutex)(&torture_lock);
	list_add_tail(&tdev->node, &slots[id].devices);
}
EXPORT_SYMBOL_GPL(torture_device_comes);

void torture_device_goes(struct torture_device *tdev)
{
	guard(mutex)(&torture_lock);
	list_del(&tdev->node);
}
EXPORT_SYMBOL_GPL(torture_device_goes);

void torture_device_lives(unsigned int id)
{
	atomic_inc(&slots[id].live);
}
EXPORT_SYMBOL_GPL(torture_device_lives);

void torture_device_dies(unsigned int id)
{
	happened(&slots[id]);
	atomic_dec(&slots[id].live);
}
EXPORT_SYMBOL_GPL(torture_device_dies);

void torture_exit_begins(unsigned int nr)
{
	WRITE_ONCE(slots[nr].phase, PHASE_EXIT);
}
EXPORT_SYMBOL_GPL(torture_exit_begins);

void torture_exit_drained(unsigned int nr)
{
	int live = atomic_read(&slots[nr].live);

	if (live)
		violation(JUDGE_DEVICE, "%s has drained, and has %d devices",
			  module_name(slots[nr].mod), live);
}
EXPORT_SYMBOL_GPL(torture_exit_drained);

void torture_exit_ends(unsigned int nr)
{
	struct torture_slot *slot = &slots[nr];

	for (int i = 0; i < TORTURE_TAILS; i++) {
		if (atomic_read(&slot->inside[i]))
			atomic_inc(nr < TORTURE_VICTIMS ? &gated[i] : &helper_gated[i]);
	}
	if (atomic_read(&slot->interrupts))
		atomic_inc(&interrupts_gated);
	if (atomic_read(&slot->live))
		atomic_inc(&left_devices);
	if (slot->mod->state == MODULE_STATE_COMING)
		atomic_inc(&failed_inits);
	happened(slot);
	WRITE_ONCE(slot->phase, PHASE_LEFT);
}
EXPORT_SYMBOL_GPL(torture_exit_ends);

static bool slot_inside(struct torture_slot *slot)
{
	for (int i = 0; i < TORTURE_TAILS; i++) {
		if (atomic_read(&slot->inside[i]))
			return true;
	}

	return false;
}

/* The loader is about to free the module. */
static void judge_gone(unsigned int nr)
{
	struct torture_slot *slot = &slots[nr];
	const char *name = module_name(slot->mod);
	unsigned long took = now() - READ_ONCE(slot->last);
	bool timed;
	int n;

	for (int i = 0; i < TORTURE_TAILS; i++) {
		n = atomic_read(&slot->inside[i]);
		if (n)
			violation(JUDGE_TEXT, "%s goes, in it are %d with tail %s", name, n,
				  tail_names[i]);
	}
	n = atomic_read(&slot->live);
	if (n)
		violation(JUDGE_DEVICE, "%s goes, and has %d devices", name, n);

	/* Init may have failed early, without an event. */
	timed = slot->phase == PHASE_LEFT && !slot_inside(slot) && !n;
	if (timed && took > bound)
		violation(JUDGE_LATE, "%s goes %lu ticks after the last event, at most %lu", name,
			  took, bound);

	while (slot_inside(slot) || atomic_read(&slot->live))
		schedule_timeout_idle(1);

	atomic_inc(nr < TORTURE_VICTIMS ? &unloads : &helper_unloads);
	guard(mutex)(&torture_lock);
	if (timed)
		longest = max(longest, took);
	slot->mod = NULL;
	WRITE_ONCE(slot->phase, PHASE_GONE);
}

static int torture_notify(struct notifier_block *nb, unsigned long action, void *data)
{
	unsigned long start;

	if (action != MODULE_STATE_GOING)
		return NOTIFY_DONE;

	for (int i = 0; i < TORTURE_SLOTS; i++) {
		if (slots[i].mod != data)
			continue;
		for (start = now(); now() - start < READ_ONCE(judge_sleeps);)
			schedule_timeout_idle(1);
		judge_gone(i);
	}

	return NOTIFY_DONE;
}

/* The last one: nobody else's notifier is to run in between. */
static struct notifier_block torture_notifier = {
	.notifier_call = torture_notify,
	.priority = INT_MAX,
};

/* What a tail needs */

void torture_put(struct torture_actor *actor)
{
	if (actor->deferred)
		drm_dev_put_deferred(actor->drm);
	else
		drm_dev_put(actor->drm);
	actor->end = ktime_add_ms(ktime_get(), actor->tail_ms);
}
EXPORT_SYMBOL_GPL(torture_put);

/* Whose exit function a tail waits for */
static struct torture_slot *actor_slot(struct torture_actor *actor)
{
	return &slots[actor->where == IN_HELPER ? TORTURE_HELPER(actor->id) : actor->id];
}

/* The exit function of the module has not returned. */
static bool slot_stays(struct torture_slot *slot)
{
	enum torture_phase phase = READ_ONCE(slot->phase);

	return phase == PHASE_LIVE || phase == PHASE_EXIT;
}

/* The end of a late tail is some time after the exit function. */
bool torture_waits(struct torture_actor *actor)
{
	if (!actor->late)
		return false;
	if (slot_stays(actor_slot(actor)) && ktime_before(ktime_get(), actor->limit))
		return true;
	actor->late = false;
	actor->end = ktime_add_ms(ktime_get(), actor->tail_ms);

	return false;
}
EXPORT_SYMBOL_GPL(torture_waits);

static void actor_wait(struct torture_actor *actor)
{
	while (torture_waits(actor))
		schedule_timeout_idle(1);
}

void torture_sleep(struct torture_actor *actor)
{
	actor_wait(actor);
	schedule_timeout_idle(msecs_to_jiffies(actor->tail_ms));
}
EXPORT_SYMBOL_GPL(torture_sleep);

noinline void torture_sleep_probed(struct torture_actor *actor)
{
	torture_sleep(actor);
	barrier();
}
EXPORT_SYMBOL_GPL(torture_sleep_probed);

/* The loader, or the exit function, has closed the drain, so nothing more can be created. */
static bool drain_began(struct torture_slot *slot)
{
	struct module_drain *base;

	llist_for_each_entry(base, READ_ONCE(slot->mod->drains.first), node) {
		if (test_bit(0, &base->flags))
			return true;
	}

	return false;
}

/* The caller is in the text of the module, so that is there. */
void torture_create(struct torture_actor *actor)
{
	struct torture_slot *slot = &slots[actor->id];
	enum torture_phase phase = READ_ONCE(slot->phase);
	bool began = drain_began(slot);
	int ret;

	ret = actor->ops->create(actor->parent);
	if (!ret) {
		atomic_inc(&created[phase]);
		if (began)
			violation(JUDGE_CREATE, "%s has a new device", module_name(slot->mod));
	} else if (ret == -ENODEV) {
		atomic_inc(&refused[phase]);
		if (READ_ONCE(slot->phase) == PHASE_LIVE)
			violation(JUDGE_REFUSE, "%s gets no device", module_name(slot->mod));
	}
}
EXPORT_SYMBOL_GPL(torture_create);

void torture_left(struct torture_actor *actor, unsigned int nr)
{
	happened(&slots[nr]);
	if (!torture_context_sleeps(actor->context))
		atomic_dec(&slots[nr].interrupts);
	atomic_dec(&slots[nr].inside[actor->tail]);
}
EXPORT_SYMBOL_GPL(torture_left);

/* Whoever has something of an actor */
static void actor_drop(struct torture_actor *actor)
{
	/* It may be in a hard interrupt, or still used by whoever has called this. */
	if (refcount_dec_and_test(&actor->ref))
		llist_add(&actor->node, &torture_done);
}

/* Other callbacks come before that of the tail, and take their time. */
static void actor_slow_rcu(struct rcu_head *rcu)
{
	struct torture_actor *actor = container_of(rcu, struct torture_actor, slow_rcu);

	mdelay(20);
	actor_drop(actor);
}

/* The tail is about to call call_rcu(). */
void torture_keep_for_rcu(struct torture_actor *actor)
{
	refcount_add(2, &actor->ref);
	call_rcu(&actor->slow_rcu, actor_slow_rcu);
}
EXPORT_SYMBOL_GPL(torture_keep_for_rcu);

void torture_rcu_left(struct torture_actor *actor)
{
	torture_left(actor, actor->rcu_slot);
	actor_drop(actor);
}
EXPORT_SYMBOL_GPL(torture_rcu_left);

/* Somebody has the mutex that the tail wants. */
static void actor_locker(struct work_struct *work)
{
	struct torture_actor *actor = container_of(work, struct torture_actor, locker);

	mutex_lock(&actor->mutex);
	complete(&actor->locked);
	actor_wait(actor);
	msleep(actor->tail_ms);
	mutex_unlock(&actor->mutex);
	actor_drop(actor);
}

static void actor_enters(struct torture_actor *actor, struct torture_slot *slot)
{
	atomic_inc(&slot->inside[actor->tail]);
	if (!torture_context_sleeps(actor->context))
		atomic_inc(&slot->interrupts);
}

/* In whatever context */
static void actor_run(struct torture_actor *actor)
{
	struct torture_slot *victim = &slots[actor->id];
	struct torture_slot *helper = &slots[TORTURE_HELPER(actor->id)];

	actor->limit = ktime_add_ms(ktime_get(), torture_context_sleeps(actor->context) ?
				    TORTURE_LIMIT_MS : TORTURE_LIMIT_BUSY_MS);
	if (actor->tail == TAIL_MUTEX) {
		refcount_inc(&actor->ref);
		queue_work(system_dfl_wq, &actor->locker);
		wait_for_completion(&actor->locked);
	}

	if (actor->where != IN_HELPER)
		actor_enters(actor, victim);
	if (actor->where != IN_VICTIM)
		actor_enters(actor, helper);

	atomic_inc(&puts[actor->context]);
	atomic_inc(&tails[actor->tail]);
	atomic_inc(&wheres[actor->where]);
	if (actor->deferred)
		atomic_inc(&deferred);
	if (READ_ONCE(victim->phase) == PHASE_EXIT)
		atomic_inc(&drained[actor->context]);
	if (actor->context == IN_USER)
		atomic_inc(thread_group_leader(current) ? &user_leaders : &user_threads);
	if (actor->context == IN_RELEASE && (current->flags & PF_EXITING))
		atomic_inc(&exiting);

	actor->put(actor);
	actor_drop(actor);
}

static void actor_rcu(struct rcu_head *rcu)
{
	actor_run(container_of(rcu, struct torture_actor, rcu));
}

static void actor_irq_work(struct irq_work *work)
{
	actor_run(container_of(work, struct torture_actor, irq_work));
}

static void actor_work(struct work_struct *work)
{
	struct torture_actor *actor = container_of(to_delayed_work(work),
						   struct torture_actor, work);

	switch (actor->context) {
	case IN_IRQ_WORK:
		irq_work_queue(&actor->irq_work);
		break;
	case IN_RCU:
		call_rcu(&actor->rcu, actor_rcu);
		break;
	case IN_SRCU:
		call_srcu(&torture_srcu, &actor->rcu, actor_rcu);
		break;
	default:
		actor_run(actor);
		break;
	}
}

static void actor_timer(struct timer_list *timer)
{
	actor_run(container_of(timer, struct torture_actor, timer));
}

static enum hrtimer_restart actor_hrtimer(struct hrtimer *timer)
{
	actor_run(container_of(timer, struct torture_actor, hrtimer));

	return HRTIMER_NORESTART;
}

static int actor_thread(void *data)
{
	struct torture_actor *actor = data;

	schedule_timeout_idle(msecs_to_jiffies(actor->before_ms));
	/* Nobody takes the processor away. */
	if (actor->tail == TAIL_BUSY)
		sched_set_fifo_low(current);
	actor_run(actor);

	return 0;
}

static void actor_init(struct torture_actor *actor)
{
	refcount_set(&actor->ref, 1);
	mutex_init(&actor->mutex);
	init_completion(&actor->locked);
	INIT_WORK(&actor->locker, actor_locker);
	INIT_DELAYED_WORK(&actor->work, actor_work);
	timer_setup(&actor->timer, actor_timer, 0);
	hrtimer_setup(&actor->hrtimer, actor_hrtimer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_HARD);
	actor->irq_work = IRQ_WORK_INIT_HARD(actor_irq_work);
}

/* Nobody waits for it; its reference has to keep the code that it will run. */
static int actor_start(struct torture_actor *actor)
{
	struct task_struct *task;

	switch (actor->context) {
	case IN_KTHREAD:
		task = kthread_run(actor_thread, actor, "torture_actor");
		return PTR_ERR_OR_ZERO(task);
	case IN_TIMER:
		mod_timer(&actor->timer, jiffies + 1 + msecs_to_jiffies(actor->before_ms));
		return 0;
	case IN_HRTIMER:
		hrtimer_start(&actor->hrtimer, ms_to_ktime(actor->before_ms),
			      HRTIMER_MODE_REL_HARD);
		return 0;
	case IN_USER:
	case IN_RELEASE:
		return 0;
	default:
		queue_delayed_work(system_dfl_wq, &actor->work, msecs_to_jiffies(actor->before_ms));
		return 0;
	}
}

static void actors_reap(void)
{
	struct torture_actor *actor, *next;

	llist_for_each_entry_safe(actor, next, llist_del_all(&torture_done), node) {
		/* What has called it may still have to return. */
		timer_delete_sync(&actor->timer);
		hrtimer_cancel(&actor->hrtimer);
		irq_work_sync(&actor->irq_work);
		kfree(actor);
		atomic_dec(&actors);
	}
}

/* The file */

static struct drm_device *hold_device(struct torture_slot *slot, unsigned int n)
{
	struct torture_device *tdev;

	lockdep_assert_held(&torture_lock);

	list_for_each_entry(tdev, &slot->devices, node) {
		if (n--)
			continue;
		drm_dev_get(tdev->drm);
		return tdev->drm;
	}

	return NULL;
}

static bool actor_valid(struct torture_actor *actor)
{
	bool sleeps = torture_context_sleeps(actor->context);

	if (actor->id >= TORTURE_VICTIMS || actor->context >= TORTURE_CONTEXTS ||
	    actor->tail >= TORTURE_TAILS || actor->where >= TORTURE_WHERES)
		return false;
	if (!sleeps && (torture_tail_sleeps(actor->tail) || actor->tail_ms > TORTURE_BUSY_MS ||
			!actor->deferred || actor->creates || actor->creates_late))
		return false;
	if (actor->tail == TAIL_FAULT && actor->context != IN_USER)
		return false;
	/* Creating a device is code of the victim. */
	return actor->where != IN_HELPER || !(actor->creates || actor->creates_late);
}

static int ctl_hold(struct file *file, const char *command)
{
	struct torture_actor *actor __free(kfree) = kzalloc_obj(*actor);
	unsigned int device, creates, defers, late;
	struct torture_slot *slot;
	unsigned long addr;
	int ret;

	if (!actor)
		return -ENOMEM;
	if (sscanf(command, "hold %u %u %u %u %u %u %u %u %u %u %lx", &actor->id, &device,
		   &actor->context, &actor->tail, &actor->where, &defers, &creates, &late,
		   &actor->before_ms, &actor->tail_ms, &addr) != 11)
		return -EINVAL;
	actor->deferred = defers;
	actor->late = late;
	actor->creates = creates & 1;
	actor->creates_late = creates & 2;
	actor->addr = (const char __user *)addr;
	if (!actor_valid(actor) || file->private_data)
		return -EINVAL;
	slot = &slots[actor->id];
	actor->parent = &torture_faux->dev;

	scoped_guard(mutex, &torture_lock) {
		actor->drm = hold_device(slot, device);
		if (!actor->drm)
			return -ENODEV;
		actor->ops = slot->ops;
		actor->put = actor->where == IN_HELPER ? slot->help : slot->ops->put;
	}

	actor_init(actor);
	ret = actor_start(actor);
	if (ret) {
		drm_dev_put(actor->drm);
		return ret;
	}
	atomic_inc(&actors);
	if (actor->context == IN_USER || actor->context == IN_RELEASE)
		file->private_data = actor;
	retain_and_null_ptr(actor);

	return 0;
}

static int ctl_put(struct file *file)
{
	struct torture_actor *actor = file->private_data;

	if (!actor)
		return -ENOENT;
	file->private_data = NULL;
	actor_run(actor);

	return 0;
}

static int ctl_wait(unsigned int nr)
{
	unsigned long limit = jiffies + msecs_to_jiffies(TORTURE_LIMIT_MS);

	if (nr >= TORTURE_SLOTS)
		return -EINVAL;
	while (slot_stays(&slots[nr]) && time_before(jiffies, limit))
		schedule_timeout_idle(1);

	return 0;
}

static void ctl_begin(void)
{
	memset(violations, 0, sizeof(violations));
	longest = 0;
}

static ssize_t ctl_write(struct file *file, const char __user *buf, size_t len, loff_t *pos)
{
	char command[128] = {};
	unsigned int value;
	int ret = 0;

	if (len >= sizeof(command))
		return -EINVAL;
	if (copy_from_user(command, buf, len))
		return -EFAULT;

	if (str_has_prefix(command, "hold "))
		ret = ctl_hold(file, command);
	else if (str_has_prefix(command, "put"))
		ret = ctl_put(file);
	else if (sscanf(command, "wait %u", &value) == 1)
		ret = ctl_wait(value);
	else if (str_has_prefix(command, "begin"))
		ctl_begin();
	else if (sscanf(command, "bound %u", &value) == 1)
		bound = value;
	else if (sscanf(command, "frozen %u", &value) == 1)
		WRITE_ONCE(frozen, value);
	else if (sscanf(command, "sleep %u", &value) == 1)
		judge_sleeps = value;
	else
		ret = -EINVAL;

	return ret ?: len;
}

static int ctl_release(struct inode *inode, struct file *file)
{
	ctl_put(file);

	return 0;
}

/* misc_open() leaves a pointer there. */
static int ctl_open(struct inode *inode, struct file *file)
{
	file->private_data = NULL;

	return nonseekable_open(inode, file);
}

static const struct file_operations ctl_fops = {
	.owner = THIS_MODULE,
	.open = ctl_open,
	.write = ctl_write,
	.release = ctl_release,
};

static struct miscdevice ctl_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "drm_drain_torture",
	.fops = &ctl_fops,
};

static void show(struct seq_file *m, const char *what, const char * const names[], atomic_t *counts,
		 int n)
{
	for (int i = 0; i < n; i++)
		seq_printf(m, "%s-%s %d\n", what, names[i], atomic_read(&counts[i]));
}

static int stats_show(struct seq_file *m, void *data)
{
	int live = 0, inside = 0, loaded = 0, found = 0;

	for (int i = 0; i < TORTURE_JUDGES; i++)
		found += atomic_read(&violations[i]);
	for (int i = 0; i < TORTURE_SLOTS; i++) {
		live += atomic_read(&slots[i].live);
		inside += slot_inside(&slots[i]);
		loaded += READ_ONCE(slots[i].phase) != PHASE_GONE;
	}
	show(m, "violation", judge_names, violations, TORTURE_JUDGES);
	show(m, "put", context_names, puts, TORTURE_CONTEXTS);
	show(m, "drained", context_names, drained, TORTURE_CONTEXTS);
	show(m, "tail", tail_names, tails, TORTURE_TAILS);
	show(m, "gated", tail_names, gated, TORTURE_TAILS);
	show(m, "helper-gated", tail_names, helper_gated, TORTURE_TAILS);
	show(m, "in", where_names, wheres, TORTURE_WHERES);
	show(m, "created", phase_names, created, TORTURE_PHASES);
	show(m, "refused", phase_names, refused, TORTURE_PHASES);
	seq_printf(m, "gated-interrupt %d\n", atomic_read(&interrupts_gated));
	seq_printf(m, "user-leader %d\n", atomic_read(&user_leaders));
	seq_printf(m, "user-thread %d\n", atomic_read(&user_threads));
	seq_printf(m, "exiting %d\n", atomic_read(&exiting));
	seq_printf(m, "deferred %d\n", atomic_read(&deferred));
	seq_printf(m, "left-devices %d\n", atomic_read(&left_devices));
	seq_printf(m, "failed-init %d\n", atomic_read(&failed_inits));
	seq_printf(m, "unload %d\n", atomic_read(&unloads));
	seq_printf(m, "helper-unload %d\n", atomic_read(&helper_unloads));
	seq_printf(m, "violations %d\n", found);
	seq_printf(m, "longest %lu\n", longest);
	seq_printf(m, "now-actors %d\n", atomic_read(&actors));
	seq_printf(m, "now-devices %d\n", live);
	seq_printf(m, "now-inside %d\n", inside);
	seq_printf(m, "now-loaded %d\n", loaded);
	seq_printf(m, "now-ticks %lu\n", now());
	seq_printf(m, "now-hz %d\n", HZ);

	return 0;
}
DEFINE_SHOW_ATTRIBUTE(stats);

static int torture_clock(void *data)
{
	while (!kthread_should_stop()) {
		schedule_timeout_idle(1);
		if (!READ_ONCE(frozen))
			WRITE_ONCE(ticks, ticks + 1);
		actors_reap();
	}

	return 0;
}

#ifdef CONFIG_KRETPROBES
static int torture_probed(struct kretprobe_instance *ri, struct pt_regs *regs)
{
	return 0;
}

static struct kretprobe torture_kretprobe = {
	.kp.symbol_name = "torture_sleep_probed",
	.handler = torture_probed,
	.maxactive = 64,
};

static int torture_probe(void)
{
	return register_kretprobe(&torture_kretprobe);
}
#else
static int torture_probe(void)
{
	return 0;
}
#endif

/* It has no exit function: what it has started is not waited for. */
static int __init torture_init(void)
{
	struct task_struct *clock;
	struct dentry *dir;
	int ret;

	for (int i = 0; i < TORTURE_SLOTS; i++)
		INIT_LIST_HEAD(&slots[i].devices);

	torture_faux = faux_device_create("drm_drain_torture", NULL, NULL);
	if (!torture_faux)
		return -ENODEV;

	ret = torture_probe();
	if (ret) {
		faux_device_destroy(torture_faux);
		return ret;
	}

	/* Nothing can fail from here on, since nothing could be undone. */
	clock = kthread_run(torture_clock, NULL, "torture_clock");
	WARN_ON(IS_ERR(clock));
	WARN_ON(register_module_notifier(&torture_notifier));
	WARN_ON(misc_register(&ctl_misc));
	dir = debugfs_create_dir("drm_drain_torture", NULL);
	debugfs_create_file("stats", 0400, dir, NULL, &stats_fops);

	return 0;
}

module_init(torture_init);

MODULE_DESCRIPTION("Holders and judges of the torture test");
MODULE_LICENSE("GPL");
