/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The count of a drain: two tasks that make an object and release it, and two
 * that wait, after which the drain is freed.
 *
 * @ lib/module_drain.c
 * - refcount_set(&drain->count, 1);
 * - init_completion(&drain->drained);
 *
 * @ lib/module_drain.c
 * - A get that runs together with module_drain_wait() and misses the flag
 * - either finds the count at zero and fails too, or raises it from above
 * - zero. The wait then includes this object: the count does not leave
 * - zero, and only zero ends the wait.
 *
 * @ lib/module_drain.c
 * - return !module_drain_closed(drain) &&
 * - refcount_inc_not_zero(&drain->count);
 *
 * @ lib/module_drain.c
 * - if (refcount_dec_and_test(&drain->count))
 * - complete_all(&drain->drained);
 *
 * @ lib/module_drain.c
 * - if (!test_and_set_bit(MODULE_DRAIN_CLOSED, &drain->flags))
 * - module_drain_put(drain);
 *
 * @ lib/module_drain.c
 * - ret = wait_for_completion_state(&drain->drained, state);
 *
 * @ lib/module_drain.c
 * - Several tasks may call this, one after the other or at the same time, and all
 * - of them wait. There is no way back: module_drain_get() fails from now on.
 *
 * complete_all() and the wait, with the lock of the queue:
 *
 * @ kernel/sched/completion.c
 * - raw_spin_lock_irqsave(&x->wait.lock, flags);
 * - x->done = UINT_MAX;
 * - swake_up_all_locked(&x->wait);
 * - raw_spin_unlock_irqrestore(&x->wait.lock, flags);
 */

#define WAITERS	2
#define MAKERS	2
#define ALL	255

bool closed;			/* MODULE_DRAIN_CLOSED */
byte count = 1;			/* drain->count */
bool locked;			/* drained.wait.lock */
byte done;			/* drained.done */
bool queued[WAITERS];		/* drained.wait.task_list */
bool woken[WAITERS];

byte waits_begun;		/* waits that have set the flag */
byte waits_called;		/* waits that may have */
byte waits_left = WAITERS;	/* waits that have not returned */
byte objects;
bool no_wait_has_ended = true;
bool drain_is_there = true;

inline lock()
{
	atomic { !locked -> assert(drain_is_there); locked = true }
}

inline unlock()
{
	assert(drain_is_there);
	locked = false
}

inline complete_all()
{
	lock();
	done = ALL;
	d_step {
		woken[0] = queued[0];
		woken[1] = queued[1];
		queued[0] = false;
		queued[1] = false
	}
	unlock()
}

inline put()
{
	d_step {
		assert(drain_is_there);
		assert(count > 0);
		count--;
		zero = count == 0
	}
	if
	:: zero ->
		complete_all()
	:: else
	fi
}

active [MAKERS] proctype maker()
{
	bool zero, got, late, early;

	late = waits_begun > 0;
	if
	:: closed -> got = false
	:: else ->
		d_step {
			got = count > 0;
			if
			:: got -> count++
			:: else
			fi
		}
	fi;
	early = waits_called == 0;
	/* From the call on there are no new objects; until then, there are. */
	assert(!(got && late));
	assert(got || !early);

	if
	:: got ->
		objects++;
		assert(objects == 0 || no_wait_has_ended);
		objects--;
		put()
	:: else
	fi
}

active [WAITERS] proctype waiter()
{
	byte me = _pid - MAKERS;
	bool zero, first;

	waits_called++;
	d_step { first = !closed; closed = true };
	if
	:: first ->
		put()
	:: else
	fi;
	waits_begun++;

	lock();
	do
	:: done > 0 -> break
	:: else ->
		queued[me] = true;
		unlock();
		woken[me];
		woken[me] = false;
		lock()
	od;
	if
	:: done != ALL -> done--	/* never, with complete_all() */
	:: else
	fi;
	unlock();
	no_wait_has_ended = false;
	assert(objects == 0 || no_wait_has_ended);

	/* The loader frees the drain when all waits have ended. */
	d_step {
		waits_left--;
		if
		:: waits_left == 0 -> drain_is_there = false
		:: else
		fi
	}
}
