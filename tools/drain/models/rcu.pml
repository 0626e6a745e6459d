/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Without reliable stacks, Tasks RCU: a tail that is preempted in the text is waited for; one
 * that sleeps there is not, and is not allowed to.
 *
 * @ kernel/module/drain.c
 * - A task that was preempted in module text has not called schedule() itself, and
 * - is still in its Tasks RCU read-side critical section. A task that sleeps there
 * - is not. Without PREEMPTION, the normal grace period that follows is enough, as it
 * - ends when every CPU has been through the scheduler, idle, or in user mode.
 *
 * @ kernel/module/drain.c
 * - wait_rcu_gp_state(TASK_IDLE | TASK_FREEZABLE, call_rcu_tasks);
 *
 * @ kernel/module/drain.c
 * - synchronize_rcu();
 *
 * @ lib/module_drain.c
 * - that gets here may sleep on its way out (not without CONFIG_MODULE_DRAIN_STACKS,
 * - see module_drain_gate()),
 */

bool text_is_there = true;
bool preemption;		/* CONFIG_PREEMPTION, which selects TASKS_RCU */
bool begun;
bool inside;
byte count = 1;
bool tasks_reader;		/* it has not called schedule() since it came in */
bool processor = true;		/* it has not been through the scheduler at all */

active proctype worker()
{
	begun;
	d_step { inside = true; tasks_reader = true };
	count--;
	/* The tail: it may be preempted. */
	if
	:: preemption ->
		processor = false;
		/* and goes on */
		assert(text_is_there)
	:: else
	fi;
	assert(text_is_there);
	d_step { inside = false; tasks_reader = false };
	processor = false
}

active proctype rmmod()
{
	if
	:: preemption = true
	:: preemption = false
	fi;
	begun = true;
	count == 0;
	/* gate_wait_text(): all who are readers by now */
	if
	:: preemption -> !tasks_reader
	:: else
	fi;
	/* synchronize_rcu() */
	!processor;
	text_is_there = false
}
