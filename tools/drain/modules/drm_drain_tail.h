/* SPDX-License-Identifier: GPL-2.0 */
#ifndef DRM_DRAIN_TAIL_H
#define DRM_DRAIN_TAIL_H

/*
 * What a module does after it has dropped a reference on a device, in its own text: for
 * drm_drain_victim0 and drm_drain_help0, each of which has a copy.
 */

#include <linux/compiler.h>
#include <linux/mutex.h>
#include <linux/processor.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/uaccess.h>

#include "drm_drain_torture.h"

static noinline void tail_busy(struct torture_actor *actor)
{
	while (torture_waits(actor) || ktime_before(ktime_get(), actor->end)) {
		/* A thread keeps the processor, so its saved stack is that of its last sleep. */
		if (torture_context_sleeps(actor->context) && actor->context != IN_KTHREAD)
			cond_resched();
		cpu_relax();
	}
}

/* The barriers keep the compiler from making jumps or a loop of the calls. */
static noinline void tail_deep(struct torture_actor *actor, unsigned int depth)
{
	unsigned long words[8];

	OPTIMIZER_HIDE_VAR(depth);
	words[depth % 8] = depth;
	barrier_data(words);
	if (depth)
		tail_deep(actor, depth - 1);
	else
		torture_sleep(actor);
	barrier_data(words);
}

static noinline void tail_fault(struct torture_actor *actor)
{
	char byte;

	/* Whether there is something to read at last makes no difference. */
	if (copy_from_user(&byte, actor->addr, 1))
		barrier();
}

static void tail_rcu_fn(struct rcu_head *rcu)
{
	struct torture_actor *actor = container_of(rcu, struct torture_actor, tail_rcu);

	torture_rcu_left(actor);
	/* Still in the text */
	barrier();
}

static noinline void torture_put_and_tail(struct torture_actor *actor, unsigned int slot)
{
	torture_put(actor);

	switch (actor->tail) {
	case TAIL_BUSY:
		tail_busy(actor);
		break;
	case TAIL_RCU:
		if (actor->late && torture_context_sleeps(actor->context))
			torture_sleep(actor);
		else if (actor->late)
			tail_busy(actor);
		break;
	case TAIL_ASLEEP:
		torture_sleep(actor);
		break;
	case TAIL_MUTEX:
		mutex_lock(&actor->mutex);
		mutex_unlock(&actor->mutex);
		break;
	case TAIL_DEEP:
		tail_deep(actor, 24);
		break;
	case TAIL_PROBED:
		torture_sleep_probed(actor);
		break;
	case TAIL_FAULT:
		tail_fault(actor);
		break;
	default:
		break;
	}

	if (actor->creates_late)
		torture_create(actor);

	if (actor->tail == TAIL_RCU) {
		torture_keep_for_rcu(actor);
		actor->rcu_slot = slot;
		call_rcu(&actor->tail_rcu, tail_rcu_fn);
	} else {
		torture_left(actor, slot);
	}
	barrier();
}

#endif
