// SPDX-License-Identifier: MIT

#include <linux/atomic.h>
#include <linux/device.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/printk.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/stackdepot.h>
#include <linux/stacktrace.h>

#include <drm/drm_device.h>

#include "drm_internal.h"

#define DRM_DEV_REFS_DEPTH	16
#define DRM_DEV_REFS_MAX	64

struct drm_dev_ref {
	/* Where references were taken, or dropped */
	depot_stack_handle_t stack;
	/* How many; negative if dropped */
	int count;
	/* By whom, the last time */
	pid_t pid;
	char comm[TASK_COMM_LEN];
};

/*
 * The history of a device's references. There is nothing that ties a put to the
 * get it belongs to, so this is one entry for each place. A leak shows as a place
 * that took more references than its counterpart dropped.
 */
struct drm_dev_refs {
	/* Protects all the rest, taken in interrupts, too */
	raw_spinlock_t lock;
	unsigned int nr;
	/* References that there was no room to remember */
	unsigned int lost;
	struct drm_dev_ref ref[DRM_DEV_REFS_MAX];
};

void drm_dev_refs_init(struct drm_device *dev)
{
	struct drm_dev_refs *refs;

	stack_depot_init();

	/* Without memory there is no history, which is no reason to fail. */
	refs = kzalloc_obj(*refs);
	if (refs)
		raw_spin_lock_init(&refs->lock);
	dev->managed.refs = refs;
	drm_dev_refs_add(dev, 1);
}

void drm_dev_refs_fini(struct drm_device *dev)
{
	kfree(dev->managed.refs);
}

static struct drm_dev_ref *drm_dev_refs_find(struct drm_dev_refs *refs,
					     depot_stack_handle_t stack, bool put)
{
	struct drm_dev_ref *ref;

	for (ref = refs->ref; ref < refs->ref + refs->nr; ref++) {
		bool dropped = ref->count < 0;

		if (ref->stack == stack && dropped == put)
			return ref;
	}

	if (!stack || refs->nr == DRM_DEV_REFS_MAX)
		return NULL;

	ref = &refs->ref[refs->nr++];
	ref->stack = stack;

	return ref;
}

/* May be called in any context that drm_dev_put_deferred() may be called in. */
void drm_dev_refs_add(struct drm_device *dev, int count)
{
	struct drm_dev_refs *refs = dev->managed.refs;
	unsigned long entries[DRM_DEV_REFS_DEPTH];
	depot_stack_handle_t stack;
	struct drm_dev_ref *ref;
	unsigned int nr;

	if (!refs)
		return;

	nr = stack_trace_save(entries, ARRAY_SIZE(entries), 1);
	/* With PREEMPT_RT, nothing can be allocated where that cannot sleep. */
	stack = stack_depot_save_flags(entries, nr, GFP_NOWAIT | __GFP_NOWARN,
				       preemptible() || !IS_ENABLED(CONFIG_PREEMPT_RT) ?
				       STACK_DEPOT_FLAG_CAN_ALLOC : 0);

	guard(raw_spinlock_irqsave)(&refs->lock);

	ref = drm_dev_refs_find(refs, stack, count < 0);
	if (!ref) {
		refs->lost++;
		return;
	}
	ref->count += count;
	if (in_task()) {
		ref->pid = task_pid_nr(current);
		get_task_comm(ref->comm, current);
	} else {
		ref->pid = 0;
		strscpy(ref->comm, "interrupt");
	}
}

/* @dev must not be released meanwhile. */
void drm_dev_refs_print(struct drm_device *dev)
{
	struct drm_dev_refs *refs = dev->managed.refs;
	unsigned long *entries;
	struct drm_dev_ref ref;
	unsigned int i, nr;

	if (!refs)
		return;

	for (i = 0; i < READ_ONCE(refs->nr); i++) {
		scoped_guard(raw_spinlock_irqsave, &refs->lock)
			ref = refs->ref[i];

		pr_warn("[drm]     %d references %s, the last one by %s:%d, at\n", abs(ref.count),
			ref.count < 0 ? "dropped" : "taken", ref.comm, ref.pid);
		nr = stack_depot_fetch(ref.stack, &entries);
		while (nr--)
			pr_warn("[drm]       %pS\n", (void *)*entries++);
	}

	if (refs->lost)
		pr_warn("[drm]     %u more not remembered\n", refs->lost);
}

/* Called with the reference that devres has, and is about to drop. */
void drm_dev_refs_unbound(struct drm_device *dev)
{
	unsigned int held = kref_read(&dev->ref) - 1;

	/* Who has the device open is no secret, and may go on having it. */
	if (!held || atomic_read(&dev->open_count) || !list_empty(&dev->clientlist))
		return;

	pr_warn("[drm] %s is unbound, and is held by %u references\n", dev_name(dev->dev), held);
	drm_dev_refs_print(dev);
}
