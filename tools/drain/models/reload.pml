/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A module is unloaded, and loaded again at the same address with its struct module there too.
 * A task that was in the old text returns, and an object is created by the new module. The
 * unloading may be killed: then the module stays, and is not loaded again.
 *
 * @ kernel/module/drain.c
 * - The drains of a module go when nothing can enter its text any more.
 *
 * @ drivers/gpu/drm/drm_module.c
 * - There is no
 * - reference count: every device that points here is counted in @base, and the
 * - module loader waits for that count first.
 *
 * @ kernel/module/main.c
 * - mod_sysfs_teardown(mod);
 * - module_drain_free(mod);
 *
 * @ kernel/module/drain.c
 * - llist_for_each_entry_safe(drain, next, llist_del_all(&mod->drains), node)
 * - kfree(drain);
 *
 * @ kernel/module/drain.c
 * - Return: 0, or -EINTR if a fatal signal ended the wait. The module must then
 * - stay in memory for ever.
 *
 * @ kernel/module/main.c
 * - someone could wait for the module in add_unformed_module()
 */

byte generation = 1;		/* of the text at this address; 0: there is none */
bool listed = true;		/* the drain is in the list of the module, and is not freed */
bool closed;
byte count = 2;
bool inside;
bool formed = true;		/* the module is in the list of modules */

active proctype worker()
{
	inside = true;
	/* The release, and the last step that uses the drain */
	d_step { assert(listed); count-- };
	/* the tail */
	assert(generation == 1);
	inside = false
}

active proctype rmmod()
{
	bool killed;

	if
	:: killed = true
	:: killed = false
	fi;
	closed = true;
	count--;
	count == 0;
	if
	:: !inside
	:: killed -> goto stays
	fi;
	listed = false;
	generation = 0;
	formed = false;
	goto done;
stays:
	assert(generation == 1);
done:
	skip
}

/* insmod waits until the name is free. */
active proctype insmod()
{
	bool old;

end:	!formed;
	assert(generation == 0);
	old = listed;
	generation = 2;
	/* A new module has new drains, or nobody could create an object. */
	assert(!old);
	closed = false;
	count = 1
}
