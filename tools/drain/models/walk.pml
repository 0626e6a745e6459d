/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The walk over the tasks: the exit function has returned, no device is left, and three
 * tasks may still be inside of the text. They run, sleep, change processors, fork, exec
 * and exit while the walk goes by. A fourth is born, with a number that is free. A fifth
 * runs in user space, and never leaves its processor but for the stopper. (That the walk ends is
 * searched for without the fourth, with the first three inside.)
 *
 * @ patches/2-core/cover.txt
 * - (2)	So a task that was seen outside stays outside, except for what the
 * -	loader dismantles later, and tasks can be seen one after the other.
 *
 * @ patches/2-core/cover.txt
 * - (3)	The walk goes up by the tasks' numbers, and misses none that is
 * -	inside.
 *
 * @ patches/2-core/cover.txt
 * - (6)	A task that is inside has an address into the code on its stack, or
 * -	in a tracer's list of return addresses.
 *
 * @ kernel/module/drain.c
 * - (2) A task that is seen with no return address into the text on its stack never
 * - gets one again, except in the entries that (1) names: the text would have to
 * - be called, or the stack inherited, and a new task starts with a stack of its
 * - own. So it does not matter when the other tasks are seen.
 *
 * @ kernel/module/drain.c
 * - (3) The walk misses no task that is inside. It visits tasks in the order of their
 * - numbers in the initial pid namespace. A task without a number is past
 * - exit_notify(), from where nothing of a module with a drain is called. A task
 * - whose number changes during the walk is inside execve(), hence outside the
 * - module. A task with a new number was created during the walk: (2).
 *
 * @ kernel/module/drain.c
 * - (6) A task that is inside has a return address into the text on its stack, or in
 * - the lists of tracers: gate_look(). A task that runs is seen when it has left
 * - its processor, with what its registers held on its stack: gate_look_stopped().
 *
 * next_task():
 * @ kernel/module/drain.c
 * - pid = find_ge_pid(*nr, &init_pid_ns);
 * - if (!pid)
 * - return NULL;
 * - *nr = pid_nr(pid) + 1;
 * - task = get_pid_task(pid, PIDTYPE_PID);
 *
 * look():
 * @ kernel/module/drain.c
 * - if (READ_ONCE(task->__state) == TASK_DEAD)
 * - return 0;
 * - if (task_curr(task))
 * - return -EBUSY;
 * - ret = arch_stack_walk_reliable(gate_look_entry, gate, task);
 * - if (ret && !gate->inside)
 * - ret = gate_scan(gate, task);
 *
 * @ kernel/module/drain.c
 * - if (!ret && gate_traced_inside(gate, task))
 * - ret = -EINVAL;
 *
 * wait_task():
 * @ kernel/module/drain.c
 * - if (!try_get_task_stack(task))
 * - return 0;
 * - klp_lock();
 * - ret = task_call_func(task, gate_look, gate);
 *
 * @ kernel/module/drain.c
 * - if (ret == -EBUSY && time_after(jiffies, gate->start + GATE_PAUSE_MAX))
 * - ret = stop_one_cpu(task_cpu(task), gate_look_stopped, gate);
 *
 * The rest:
 * @ kernel/module/drain.c
 * - while (!ret && (gate->task = gate_next_task(&nr))) {
 * - if (gate->task != current)
 * - ret = gate_wait_task(gate);
 */

#define LEADER	0		/* of a thread group */
#define THREAD	1		/* of the same group */
#define KTHREAD	2
#define CHILD	3		/* not born yet */
#define SPINNER	4		/* in user space */
#define TASKS	5
#define NUMBERS	6
#define STOPPER	8
#define NOBODY	9

/* Where a task will return to: */
#define OUT	0		/* nowhere in the text */
#define CALLED	1		/* the text */
#define TRACED	2		/* the text, but a tracer has the address */
#define PATCHED	3		/* a function of a livepatch that replaces one of the text */

bool text_is_there = true;
bool walked;

byte where[TASKS];		/* by now */
byte saved[TASKS];		/* as its stack has it: since it has left its processor */
byte cpu[TASKS];		/* the last one */
byte curr[3];			/* the tasks on the processors */
byte number[TASKS];		/* 0: none */
bool dead[TASKS];
bool unreadable[TASKS];		/* the unwinder does not follow the stack */
byte switches[TASKS];		/* how often it may still leave its processor */

#define runs(t)		(curr[cpu[t]] == t)
#define no_number(n)	(number[0] != n && number[1] != n && number[2] != n && number[3] != n && number[4] != n)

inline leave_processor(t)
{
	saved[t] = where[t];
	curr[cpu[t]] = NOBODY
}

inline return_from_text(t)
{
	assert(text_is_there);
	where[t] = OUT
}

/* The two threads of a process. The second one changes its processor once. */
proctype thread(byte t)
{
	byte moves = t;

end:	do
	:: atomic { runs(t) && where[t] != OUT -> return_from_text(t) }
	:: atomic { runs(t) && switches[t] > 0 -> switches[t]--; leave_processor(t) }
	:: atomic { !runs(t) && !dead[t] && curr[cpu[t]] == NOBODY -> curr[cpu[t]] = t }
	:: atomic { !runs(t) && !dead[t] && curr[1 - cpu[t]] == NOBODY && moves > 0 ->
		moves--;
		cpu[t] = 1 - cpu[t];
		curr[cpu[t]] = t }
#ifndef ENDS
	/* fork(), with a number that is free: numbers begin again */
	:: atomic { t == THREAD && runs(t) && number[CHILD] == 0 ->
		if
		:: number[CHILD] = 4
		:: number[CHILD] = 6
		fi;
		where[CHILD] = OUT;
		saved[CHILD] = where[CHILD] }
#endif
	/* execve() of a thread: it waits until the leader is dead, and gets its number. */
	:: atomic { t == THREAD && runs(t) && where[t] == OUT && dead[LEADER] && number[LEADER] != 0 ->
		number[THREAD] = number[LEADER];
		number[LEADER] = 0 }
	:: atomic { runs(t) && where[t] == OUT ->
		dead[t] = true;
		if
		:: t != LEADER || dead[THREAD] -> number[t] = 0
		:: else
		fi;
		leave_processor(t) }
	:: dead[t] -> break
	od
}

/* Asleep at the beginning, or not born yet */
proctype sleeper(byte t)
{
	bool left;

end:	do
	:: atomic { !left && !runs(t) && number[t] != 0 && curr[0] == NOBODY -> cpu[t] = 0; curr[0] = t }
	:: atomic { runs(t) ->
		if
		:: where[t] != OUT -> return_from_text(t)
		:: else
		fi;
		leave_processor(t);
		left = true }
	od
}	/* never */

#define OK	0
#define BUSY	1
#define INSIDE	2

/* The task is pinned in its state, by the locks that task_call_func() takes. */
inline look(t)
{
	d_step {
		inside = false;
		if
		:: dead[t] -> ret = OK
		:: !dead[t] && runs(t) -> ret = BUSY
		:: else ->
			if
			:: unreadable[t] -> ret = INSIDE
			:: !unreadable[t] && (saved[t] == CALLED || saved[t] == PATCHED) ->
				inside = true;
				ret = INSIDE
			:: else -> ret = OK
			fi;
			if
			:: ret != OK && !inside ->
				ret = (saved[t] == CALLED || saved[t] == PATCHED -> INSIDE : OK)
			:: else
			fi;
			if
			:: ret == OK && saved[t] == TRACED -> ret = INSIDE
			:: else
			fi
		fi
	}
}

inline next_task()
{
	d_step {
		t = NOBODY;
		do
		:: nr > NUMBERS -> break
		:: nr <= NUMBERS && no_number(nr) -> nr++
		:: else ->
			do
			:: t == NOBODY && number[0] == nr -> t = 0
			:: t == NOBODY && number[1] == nr -> t = 1
			:: t == NOBODY && number[2] == nr -> t = 2
			:: t == NOBODY && number[3] == nr -> t = 3
			:: t == NOBODY && number[4] == nr -> t = 4
			:: else -> break
			od;
			nr++;
			break
		od;
		i = 0;
		stops = 0
	}
}

inline stop_one_cpu(c, t)
{
	/* The stopper takes the place of whoever runs there. That may not be the task any more. */
	d_step {
		stopped = curr[c];
		if
		:: stopped != NOBODY -> leave_processor(stopped)
		:: else
		fi;
		curr[c] = STOPPER
	};
	look(t);
	/* User space goes on. */
	d_step {
		curr[c] = (stopped == SPINNER -> SPINNER : NOBODY);
		stopped = NOBODY
	}
}

inline wait_task(t)
{
	do
	:: dead[t] -> break	/* it has no stack any more */
	:: else ->
		look(t);
		if
		/* Else a task might be stopped before each of its steps. */
		:: ret == BUSY && late && (stops < 2 || t == SPINNER) ->
			stops = (t == SPINNER -> stops : stops + 1);
			i = cpu[t];
			stop_one_cpu(i, t)
		:: else
		fi;
		if
		:: ret == OK -> break
		:: else
		fi;
		/* gate_pause() */
		late = true
	od
}

active proctype gate()
{
	byte t, nr = 1, ret, i, stops, stopped = NOBODY;
	bool inside, late;

	atomic {
		curr[0] = NOBODY;
		curr[1] = NOBODY;
		curr[2] = SPINNER;
		cpu[SPINNER] = 2;
		number[LEADER] = 1;
		number[THREAD] = 5;
		number[KTHREAD] = 3;
		number[SPINNER] = 2;
		unreadable[THREAD] = true;
		unreadable[SPINNER] = true;
		switches[LEADER] = 1;
		switches[THREAD] = 1;
		if
		:: where[LEADER] = PATCHED
#ifndef ENDS
		:: skip
#endif
		fi;
		if
		:: where[THREAD] = TRACED
#ifndef ENDS
		:: where[THREAD] = CALLED
		:: where[THREAD] = PATCHED
		:: skip
#endif
		fi;
		where[KTHREAD] = CALLED;
		/* Each may be running: then its stack has nothing to tell. */
		if
		:: curr[0] = LEADER
		:: saved[LEADER] = where[LEADER]
		fi;
		cpu[THREAD] = 1;
		if
		:: curr[1] = THREAD
		:: saved[THREAD] = where[THREAD]
		fi;
		saved[KTHREAD] = where[KTHREAD];
		run thread(LEADER);
		run thread(THREAD);
		run sleeper(KTHREAD);
		run sleeper(CHILD)
	};

	do
	:: next_task();
		if
		:: t == NOBODY -> break
		:: else
		fi;
		wait_task(t)
	od;
	text_is_there = false;
	walked = true
}

ltl ends { <> walked }
