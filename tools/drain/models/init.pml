/* SPDX-License-Identifier: GPL-2.0 */
/*
 * An init function fails when a device was registered: a task has opened it, or tries to, and
 * another task waits until the module is there or not, before it lets the first one close the
 * file.
 *
 * @ kernel/module/drain.c
 * - After a failed init, a file may be open whose closing reads the module's
 * - file_operations. A try_module_get() that saw the module before it was going may
 * - still succeed while the count is above 0, but not from 0. So wait until it can be
 * - made 0.
 *
 * @ kernel/module/drain.c
 * - 1 is what the loader itself holds.
 *
 * @ kernel/module/main.c
 * - mod->state = MODULE_STATE_GOING;
 * - synchronize_rcu();
 * - module_put(mod);
 *
 * @ kernel/module/main.c
 * - wake_up_all(&module_wq);
 * - if (module_drain_gate(mod))
 * - return ret;
 *
 * @ kernel/module/drain.c
 * - while (!ret && atomic_cmpxchg(&gate->mod->refcnt, 1, 0) > 1)
 * - ret = gate_pause(gate);
 *
 * @ kernel/module/main.c
 * - ret = atomic_dec_if_positive(&module->refcnt);
 *
 * @ patches/2-core/cover.txt
 * - After a failed init, insmod waits for the references on the module:
 */

bool text_is_there = true;
bool going;			/* mod->state */
byte refcnt = 2;		/* MODULE_REF_BASE, and one while init runs */
byte objects = 1;		/* that the init function left */
bool waiting, woken;		/* in module_wq */
bool told;			/* the other loader goes on */
bool done;

inline put_module()
{
	d_step { assert(refcnt > 0); refcnt-- }
}

active proctype opener()
{
	bool got, wants_both;

	if
	:: wants_both = true
	:: wants_both = false
	fi;
	/* try_module_get(): a module that comes may be opened, too. */
	got = !going;
	d_step {
		got = got && refcnt > 0;
		if
		:: got -> refcnt++
		:: else
		fi
	};
	if
	:: got ->
		if
		:: wants_both -> told
		:: else
		fi;
		/* The file's release drops the device. */
		assert(text_is_there);
		objects--;
		/* fops_put() reads the file operations, which are data of the module. */
		assert(text_is_there);
		put_module()
	:: else ->
		/* The device is dropped by others, who do not hold the module. */
		assert(text_is_there);
		objects--
	fi
}

/* Another insmod of the same module, or of one that uses it */
active proctype loader()
{
	do
	:: !waiting && going -> break
	:: d_step { !going && !waiting -> waiting = true; woken = false }
	:: d_step { waiting && woken -> woken = false; waiting = false }
	od;
	told = true
}

active proctype insmod()
{
	/* do_init_module() fails */
	going = true;
	put_module();
	d_step { woken = true };

	/* gate_wait_refs() */
	do
	:: d_step { refcnt == 1 -> refcnt = 0 }; break
	:: refcnt == 0 -> break			/* never */
	:: refcnt > 1 -> skip			/* gate_pause() */
	od;
	/* gate_wait_objects() */
	objects == 0;
	text_is_there = false;
	done = true
}

ltl ends { <> done }
