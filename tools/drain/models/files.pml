/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What user space holds refuses: two tasks open a file of a device, use it and close it, while
 * rmmod runs, by force or not. The file operations name the module, or nobody.
 *
 * @ patches/2-core/cover.txt
 * - An open file, a mapping, an exported
 * - dma-buf or /dev/fb0 makes rmmod fail, as now.
 *
 * @ patches/2-core/cover.txt
 * - rmmod -f of a DRM driver in use, or of a module that a DRM driver used,
 * - is refused:
 *
 * open():
 * @ drivers/gpu/drm/drm_drv.c
 * - new_fops = fops_get(drm_dev_fops(minor->dev));
 * - if (!new_fops) {
 *
 * @ kernel/module/main.c
 * - if (likely(module_is_live(module) &&
 * - atomic_inc_not_zero(&module->refcnt) != 0))
 *
 * @ drivers/gpu/drm/drm_module.c
 * - drain->fops.owner = owner;
 *
 * rmmod:
 * @ kernel/module/main.c
 * - ret = atomic_sub_return(MODULE_REF_BASE, &mod->refcnt);
 *
 * @ kernel/module/main.c
 * - ret = atomic_add_unless(&mod->refcnt, MODULE_REF_BASE, 0);
 *
 * @ kernel/module/main.c
 * - *forced = module_has_gate(mod) ? 0 : try_force_unload(flags);
 * - if (!(*forced))
 * - return -EWOULDBLOCK;
 */

#define OPENERS	2

bool text_is_there = true;
bool going;			/* mod->state */
byte refcnt = 1;		/* mod->refcnt, MODULE_REF_BASE */
byte files;			/* open files */
bool has_gate = true;		/* the module has had a device */
bool names_owner;		/* the driver's own file operations do */
bool done;

/* With the series, they always pin the module: drm_drain_check_fops() */
#define pins	true

inline module_put()
{
	d_step { assert(refcnt > 0); refcnt-- }
}

active [OPENERS] proctype opener()
{
	bool got, keeps;

	if
	:: keeps = true
	:: keeps = false
	fi;
	if
	:: pins ->
		/* try_module_get() */
		got = !going;
		d_step {
			got = got && refcnt > 0;
			if
			:: got -> refcnt++
			:: else
			fi
		}
	:: !pins -> got = !going	/* never */
	fi;
	if
	:: got ->
		files++;
		/* The device works, whatever rmmod has said. */
		assert(text_is_there && !going);
		/* Who has called rmmod may have it open, and close it after that. */
		!keeps || done;
		assert(text_is_there && !going);
		files--;
		/* fops_put() */
		if
		:: pins -> module_put()
		:: !pins		/* never */
		fi
	:: else
	fi
}

active proctype rmmod()
{
	bool force, busy;

	if
	:: force = true
	:: force = false
	fi;
	if
	:: names_owner = true
	:: names_owner = false
	fi;

	/* try_stop_module() */
	d_step { assert(refcnt > 0); refcnt--; busy = refcnt != 0 };
	if
	:: busy ->
		d_step {
			busy = refcnt > 0;
			if
			:: busy -> refcnt++
			:: else
			fi
		}
	:: else
	fi;
	if
	:: busy && (has_gate || !force) ->
		skip			/* -EWOULDBLOCK */
	:: else ->
		going = true;
		/* Nothing waits for user space from here on. */
		assert(files == 0);
		text_is_there = false
	fi;
	done = true
}

ltl ends { <> done }
