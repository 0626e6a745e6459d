/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A module without devices: two tasks create one each, or fail on the way, while a third unloads
 * the module. The drain is made by who comes first. Another subsystem has a drain in the list.
 *
 * @ patches/2-core/cover.txt
 * - There will be no new one.
 *
 * find():
 * @ lib/module_drain.c
 * - llist_for_each_entry(drain, READ_ONCE(mod->drains.first), node) {
 * - if (drain->ops == ops)
 * - return drain;
 *
 * add():
 * @ lib/module_drain.c
 * - guard(mutex)(&module_drain_mutex);
 * - old = module_drain_find(mod, ops);
 * - if (old)
 * - return old;
 * - module_drain_init(drain, mod, ops);
 *
 * @ lib/module_drain.c
 * - init_completion(&drain->drained);
 * - llist_add(&drain->node, &mod->drains);
 *
 * find_or_create():
 * @ drivers/gpu/drm/drm_module.c
 * - INIT_LIST_HEAD(&new->devices);
 * - base = module_drain_add(&new->base, owner, &drm_drain_ops);
 * - if (base != &new->base)
 * - kfree(new);
 *
 * create():
 * @ drivers/gpu/drm/drm_module.c
 * - if (!module_drain_get(&drain->base)) {
 *
 * @ drivers/gpu/drm/drm_drv.c
 * - ret = drm_drain_add_device(dev);
 * - if (ret)
 * - goto err;
 *
 * @ drivers/gpu/drm/drm_drv.c
 * - drm_drain_put(drm_drain_end_release(dev));
 *
 * exit():
 * @ drivers/gpu/drm/drm_module.c
 * - drain = drm_drain_find_or_create(owner, GFP_KERNEL | __GFP_NOFAIL);
 *
 * @ drivers/gpu/drm/drm_module.c
 * - module_drain_wait(&drain->base);
 */

#define NONE	9
#define OTHER	3		/* the other subsystem's drain, in the list from the beginning */
#define DRAINS	4		/* those that the three tasks may make are 0, 1, 2 */

#define DRM_OPS	1

byte first = OTHER;		/* mod->drains */
byte next[DRAINS] = NONE;
byte ops[DRAINS];
bool complete[DRAINS];		/* all members are set */
bool devices[DRAINS];		/* the list of devices is initialized */
byte count[DRAINS];
bool closed[DRAINS];
bool freed[DRAINS];
bool mutex;			/* module_drain_mutex */

byte live;			/* devices */
byte made;			/* drains for DRM in the list */
bool draining;			/* drm_module_drain() has closed the drain */
bool drained;			/* it has returned */

inline find()
{
	base = first;
	do
	:: base == NONE -> break
	:: base != NONE && ops[base] == DRM_OPS -> break
	:: else -> base = next[base]
	od
}

inline add()
{
	atomic { !mutex -> mutex = true };
	find();
	if
	:: base != NONE
	:: else ->
		ops[me] = DRM_OPS;
		count[me] = 1;
		complete[me] = true;
		next[me] = first;
		first = me;
		made++;
		base = me
	fi;
	mutex = false
}

inline find_or_create()
{
	find();
	if
	:: base != NONE
	:: else ->
		devices[me] = true;
		add();
		if
		:: base != me -> freed[me] = true
		:: else
		fi
	fi;
	assert(made <= 1);
	assert(base != OTHER);
	assert(complete[base]);
	assert(devices[base]);
	assert(!freed[base])
}

active [2] proctype create()
{
	byte me = _pid, base;
	bool late, got;

	late = draining;
	find_or_create();
	/* module_drain_get(), see count.pml */
	d_step {
		got = !closed[base] && count[base] > 0;
		if
		:: got -> count[base]++
		:: else
		fi
	};
	if
	:: got ->
		live++;
		assert(!late);
		assert(!drained);
		if
		:: true			/* it is put some time */
		:: true			/* drm_dev_init() fails further down */
		fi;
		live--;
		d_step { assert(count[base] > 0); count[base]-- }
	:: else
	fi;
out:	skip
}

active proctype exit()
{
	byte me = _pid, base;

	find_or_create();
	closed[base] = true;
	draining = true;
	d_step { assert(count[base] > 0); count[base]-- };
	count[base] == 0;
	assert(live == 0);
	drained = true
}
