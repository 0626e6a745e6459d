/* SPDX-License-Identifier: GPL-2.0 */
#ifndef DRM_DRAIN_TORTURE_H
#define DRM_DRAIN_TORTURE_H

/*
 * What the modules of the torture test share, and the program in the guest, which
 * makes the plan: tools/drain/guest/torture.c.
 */

/* Where an actor drops its reference. The first four may sleep. */
enum torture_context {
	IN_WORKER,
	IN_KTHREAD,
	IN_USER,	/* in a write() to the control file */
	IN_RELEASE,	/* in the release of the control file: task work, when the task exits */
	IN_TIMER,
	IN_HRTIMER,	/* a hard interrupt */
	IN_IRQ_WORK,	/* a hard interrupt */
	IN_RCU,
	IN_SRCU,
	TORTURE_CONTEXTS
};

/* What the code that has dropped it does before it returns. The first three need not sleep. */
enum torture_tail {
	TAIL_NONE,
	TAIL_BUSY,
	TAIL_RCU,	/* an RCU callback of its own is to come */
	TAIL_ASLEEP,
	TAIL_MUTEX,	/* on a mutex that somebody else has locked */
	TAIL_DEEP,	/* below many functions */
	TAIL_PROBED,	/* below a function whose return address a kretprobe has replaced */
	TAIL_FAULT,	/* in a fault on user memory, only in IN_USER */
	TORTURE_TAILS
};

/* Whose text that code is. In the last case, the victim has called the helper. */
enum torture_where {
	IN_VICTIM,
	IN_HELPER,
	IN_BOTH,
	TORTURE_WHERES
};

/*
 * How many drivers there are, each with a helper. The program makes them of one file, with
 * these characters in their names.
 */
#define TORTURE_NAMES		"0123456789abcdefghijklmnopqrstuvwxyz"
#define TORTURE_VICTIMS		((int)sizeof(TORTURE_NAMES) - 1)
#define TORTURE_SLOTS		(2 * TORTURE_VICTIMS)
#define TORTURE_HELPER(id)	(TORTURE_VICTIMS + (id))
#define TORTURE_DEVICES		8

#define torture_context_sleeps(context)	((context) <= IN_RELEASE)
#define torture_tail_sleeps(tail)	((tail) >= TAIL_ASLEEP)

#ifdef __KERNEL__

#include <linux/completion.h>
#include <linux/hrtimer.h>
#include <linux/irq_work.h>
#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/llist.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/refcount.h>
#include <linux/timer.h>
#include <linux/workqueue.h>

struct device;
struct drm_device;
struct module;
struct torture_actor;

/* A victim's, in its text */
struct torture_victim_ops {
	/* Drop the reference, have a tail, and say torture_left(). */
	void (*put)(struct torture_actor *actor);
	/* Create a device, with this parent, and let go of it. */
	int (*create)(struct device *parent);
};

/* Who has a reference on a device. Memory of the resident module */
struct torture_actor {
	struct drm_device *drm;
	const struct torture_victim_ops *ops;
	void (*put)(struct torture_actor *actor);
	struct device *parent;
	unsigned int id;
	enum torture_context context;
	enum torture_tail tail;
	enum torture_where where;
	bool deferred;
	/* The tail waits until the exit function has returned, but not for ever. */
	bool late;
	ktime_t limit;
	/* Create a device before the put, or at the end of the tail */
	bool creates;
	bool creates_late;
	/* When to drop it, and how long the tail is, in ms */
	unsigned int before_ms;
	unsigned int tail_ms;
	const char __user *addr;
	/* The end of a busy tail */
	ktime_t end;
	/* In whose text an RCU callback is */
	unsigned int rcu_slot;
	struct rcu_head tail_rcu;
	struct rcu_head slow_rcu;

	struct mutex mutex;
	struct completion locked;
	struct work_struct locker;

	struct delayed_work work;
	struct timer_list timer;
	struct hrtimer hrtimer;
	struct irq_work irq_work;
	struct rcu_head rcu;

	refcount_t ref;
	struct llist_node node;
};

/* A victim embeds this in its device. */
struct torture_device {
	struct list_head node;
	struct drm_device *drm;
};

/* What the victims and helpers tell */
int torture_loads(unsigned int slot, struct module *mod, const struct torture_victim_ops *ops,
		  void (*help)(struct torture_actor *actor));
void torture_device_comes(unsigned int id, struct torture_device *tdev);
void torture_device_goes(struct torture_device *tdev);
void torture_device_lives(unsigned int id);
void torture_device_dies(unsigned int id);
void torture_exit_begins(unsigned int slot);
void torture_exit_drained(unsigned int slot);
void torture_exit_ends(unsigned int slot);

/* For the tails */
void torture_put(struct torture_actor *actor);
bool torture_waits(struct torture_actor *actor);
void torture_sleep(struct torture_actor *actor);
void torture_sleep_probed(struct torture_actor *actor);
void torture_create(struct torture_actor *actor);
void torture_keep_for_rcu(struct torture_actor *actor);
void torture_left(struct torture_actor *actor, unsigned int slot);
void torture_rcu_left(struct torture_actor *actor);

#endif
#endif
