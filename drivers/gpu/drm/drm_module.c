// SPDX-License-Identifier: MIT

#define pr_fmt(fmt) "[drm] " fmt

#include <kunit/visibility.h>

#include <linux/export.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/module_drain.h>
#include <linux/mutex.h>
#include <linux/notifier.h>
#include <linux/slab.h>

#include <drm/drm_device.h>
#include <drm/drm_drv.h>
#include <drm/drm_module.h>

#include "drm_internal.h"

/**
 * DOC: unloading
 *
 * Releasing a &drm_device runs code of its driver: &drm_driver.release, the
 * &drmm_add_action callbacks, the destroy functions of mode objects. So the
 * driver's module must not go away before its last device has been released,
 * and anybody may hold the last reference: an open file, another driver that
 * imported a buffer, a &drm_gpuvm, a worker.
 *
 * The DRM core therefore counts the devices of every module. The rules are:
 *
 * - For holders: a reference on the &drm_device keeps the code of its driver
 *   in memory. No module reference is needed on top, and callbacks into the
 *   driver may be used for as long as the reference is held.
 *
 * - For drivers: the module's exit function calls drm_module_drain() after it
 *   unregistered the driver and before it destroys what is needed for releasing
 *   a device: caches, workqueues, and other globals. drm_module_pci_driver() and
 *   the other helpers here do this for their users.
 *
 * Devices that are still out when the exit function has returned, because the
 * driver does not call drm_module_drain(), are waited for right after it.
 *
 * Code of the driver which may drop the last reference has to get out of the
 * driver without sleeping afterwards. Where it got from there does not matter:
 * the module's text is not freed before it has been left.
 */

/**
 * struct drm_module - a module that has, or had, DRM devices
 *
 * Comes into being with the module's first device, or with its drain, and lasts
 * until the module's text is about to be freed. There is no reference count:
 * every device that points here is counted in @drain, and the only code that
 * frees a &struct drm_module waits for that count first.
 */
struct drm_module {
	/** @link: in drm_modules */
	struct list_head link;
	/** @owner: the module, for comparing only */
	struct module *owner;
	/** @drain: one count for each device that was not released yet */
	struct module_drain drain;
	/** @refused: a message about a device that came too late was printed */
	bool refused;
};

/* Protects drm_modules and drm_module.refused. Nothing else nests inside. */
static DEFINE_MUTEX(drm_modules_lock);
static LIST_HEAD(drm_modules);

static struct drm_module *drm_module_find(const struct module *owner)
{
	struct drm_module *module;

	lockdep_assert_held(&drm_modules_lock);

	list_for_each_entry(module, &drm_modules, link) {
		if (module->owner == owner)
			return module;
	}

	return NULL;
}

static struct drm_module *drm_module_find_or_create(struct module *owner, gfp_t gfp)
{
	struct drm_module *module = drm_module_find(owner);

	if (module)
		return module;

	module = kzalloc_obj(*module, gfp);
	if (!module)
		return NULL;

	module->owner = owner;
	module_drain_init(&module->drain);
	list_add(&module->link, &drm_modules);

	return module;
}

/*
 * Account for a new device. Devices of built-in drivers have no owner and need
 * none. The module is remembered in the device, since drivers are known to
 * exchange &drm_device.driver later.
 */
int drm_module_add_device(struct drm_device *dev, const struct drm_driver *driver)
{
	struct module *owner = driver->fops ? driver->fops->owner : NULL;
	struct drm_module *module;

	if (!owner)
		return 0;

	guard(mutex)(&drm_modules_lock);

	module = drm_module_find_or_create(owner, GFP_KERNEL);
	if (!module)
		return -ENOMEM;

	if (!module_drain_get(&module->drain)) {
		if (!module->refused)
			pr_err("module %s is being unloaded, no new device\n",
			       module_name(owner));
		module->refused = true;
		return -ENODEV;
	}

	dev->managed.module = module;

	return 0;
}

/*
 * A device, or what an error left of it, is gone. Neither @module nor code of
 * the driver may be used afterwards.
 */
void drm_module_remove_device(struct drm_module *module)
{
	if (module)
		module_drain_put(&module->drain);
}

/**
 * drm_module_drain - wait until all DRM devices of a module have been released
 * @owner: the module, usually THIS_MODULE
 *
 * To be called from the module's exit function (or from the error path of its
 * init function, if that may have left devices behind) after the driver has been
 * unregistered, and before anything is destroyed that releasing a device needs.
 *
 * When this function returns, every DRM device whose &drm_driver.fops belong to
 * @owner has been released: &drm_driver.release has returned, all managed
 * actions have run, and the memory of the device has been freed, no matter who
 * dropped the last reference. From the call on there are no new devices,
 * devm_drm_dev_alloc() and its siblings return -ENODEV.
 *
 * Waits for as long as it takes, that is until all users of the device are
 * gone. Signals make no difference. Does nothing for built-in code.
 *
 * Not all code of the module has necessarily come to its end: the caller of the
 * last drm_dev_put() may still have to return. The DRM core waits for this after
 * the exit function, the driver has nothing to do for it.
 *
 * Context: May sleep. The caller must not hold a lock that is taken when a device
 * is released, and must not be called from there.
 */
void drm_module_drain(struct module *owner)
{
	struct drm_module *module;

	if (!owner)
		return;

	/* Even without a device yet, there must not be one from now on. */
	scoped_guard(mutex, &drm_modules_lock)
		module = drm_module_find_or_create(owner, GFP_KERNEL | __GFP_NOFAIL);

	/*
	 * @module stays valid without the lock: it is freed by
	 * drm_module_going() alone, which runs for @owner after its exit or
	 * failed init function, of which this is a part.
	 */
	module_drain_wait(&module->drain);
}
EXPORT_SYMBOL(drm_module_drain);

/*
 * The last gate: the exit or the failed init function of @owner has returned,
 * its text is still there. Whatever else of the module had business in that
 * text, like threads and workqueues, was stopped by that function.
 */
VISIBLE_IF_KUNIT void drm_module_going(struct module *owner)
{
	struct drm_module *module;

	scoped_guard(mutex, &drm_modules_lock)
		module = drm_module_find(owner);
	if (!module)
		return;

	if (module_drain_wait(&module->drain))
		pr_notice("module %s left DRM devices behind, its exit function should call drm_module_drain()\n",
			  module_name(owner));

	/* There may be tasks that have yet to leave drm_dev_put() and its caller. */
	module_drain_sync_text();

	/* The address of the module may be that of another one from here on. */
	scoped_guard(mutex, &drm_modules_lock)
		list_del(&module->link);
	kfree(module);
}
EXPORT_SYMBOL_IF_KUNIT(drm_module_going);

static int drm_module_notify(struct notifier_block *nb, unsigned long state, void *data)
{
	if (state == MODULE_STATE_GOING)
		drm_module_going(data);

	return NOTIFY_DONE;
}

static struct notifier_block drm_module_nb = {
	.notifier_call = drm_module_notify,
	/* Ahead of those that dismantle what code in the module might still use */
	.priority = INT_MAX,
};

int drm_module_init(void)
{
	return register_module_notifier(&drm_module_nb);
}

void drm_module_exit(void)
{
	/*
	 * All modules with devices depended on this one and are gone, but a
	 * task that dropped the last reference on a device which did not belong
	 * to a module may not have left drm_dev_put() yet.
	 */
	unregister_module_notifier(&drm_module_nb);
	WARN_ON(!list_empty(&drm_modules));
	module_drain_sync_text();
}
