// SPDX-License-Identifier: MIT

#define pr_fmt(fmt) "[drm] " fmt

#include <linux/build_bug.h>
#include <linux/export.h>
#include <linux/fs.h>
#include <linux/list.h>
#include <linux/lockdep.h>
#include <linux/module.h>
#include <linux/module_drain.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/stddef.h>

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
 * and any code in the kernel may hold the last reference: another driver, a
 * &drm_gpuvm, a worker.
 *
 * The DRM core therefore counts the devices of every module. The rules are:
 *
 * - For holders: a reference on the &drm_device keeps the code of its driver
 *   in memory. No module reference is needed on top. What the code may still do
 *   with the device is another question, see drm_dev_enter().
 *
 * - For user space: open files, exported dma-bufs and the like pin the module as
 *   ever, and removing the module fails. The kernel waits only for its own
 *   references. Waiting for files would be wrong, since the task that waits may
 *   have them open itself.
 *
 * - For drivers: the module's exit function calls drm_module_drain() after it
 *   unregistered the driver and before it destroys what is needed for releasing
 *   a device: caches, workqueues, and other globals. drm_module_pci_driver() and
 *   the other helpers here do this for their users.
 *
 * The module of a device is the one that its &struct drm_driver is part of. If
 * that is not static data, it is the owner of &drm_driver.fops; if these name none
 * either, the device counts for the DRM core, which keeps no driver's code. Other
 * modules which provide parts of the device, like bridges, have to see to it
 * themselves that they are not needed any more.
 *
 * The module loader waits once more when the exit function has returned, see
 * module_drain_gate(): for devices of drivers that do not call
 * drm_module_drain(), whose exit function may have destroyed what the release
 * uses, and until every task has left the module's text, including the task that
 * dropped the last reference on the device. The same goes for the modules that the
 * driver used, when these are removed. The threads and workers of a module must come to an end in
 * its exit function, as always.
 */

/**
 * struct drm_drain - a module that has, or had, DRM devices
 *
 * Made with the module's first device, or with its drain, and freed by the
 * module loader when the module's text is about to be freed. There is no
 * reference count: every device that points here is counted in @base, and the
 * module loader waits for that count first.
 */
struct drm_drain {
	/** @base: one count for each device that was not released yet */
	struct module_drain base;
	/** @devices: the devices, by &drm_device.managed.link */
	struct list_head devices;
	/**
	 * @fops: a copy of @orig_fops that names the owner. The last file that was
	 * opened with it needs it, which may be later than the device.
	 */
	struct file_operations fops;
	/** @orig_fops: static &drm_driver.fops that name no owner, or NULL */
	const struct file_operations *orig_fops;
};

/* The module loader frees it by the address of @base. */
static_assert(offsetof(struct drm_drain, base) == 0);

/*
 * Protects all members of &struct drm_drain but @base, and keeps the devices in
 * @devices from being freed. Nothing is allocated with it held, since memory reclaim
 * may release a device.
 */
static DEFINE_MUTEX(drm_drain_lock);

/* How many devices a report names */
#define DRM_DRAIN_REPORT_MAX	10

#ifdef CONFIG_LOCKDEP
/*
 * A task that releases a device holds this map, and a task that drains acquires it.
 * So lockdep finds locks that make this a deadlock, even if nobody has to wait.
 */
static struct lockdep_map drm_drain_release_map =
	STATIC_LOCKDEP_MAP_INIT("drm_dev_release", &drm_drain_release_map);
#endif

/* The task that releases the device; without one, reports may look into the device. */
static struct task_struct *drm_drain_releaser(struct drm_device *dev)
{
	lockdep_assert_held(&drm_drain_lock);

	return dev->managed.releaser;
}

static void drm_drain_set_releaser(struct drm_device *dev)
{
	lockdep_assert_held(&drm_drain_lock);

	dev->managed.releaser = get_task_struct(current);
}

static void drm_drain_report(struct module_drain *base)
{
	struct drm_drain *drain = container_of(base, struct drm_drain, base);
	struct task_struct *releaser;
	struct drm_device *dev;
	int n = 0;

	guard(mutex)(&drm_drain_lock);

	list_for_each_entry(dev, &drain->devices, managed.link) {
		if (n++ == DRM_DRAIN_REPORT_MAX) {
			pr_warn("  and %u more\n",
				module_drain_count(base) - DRM_DRAIN_REPORT_MAX);
			break;
		}
		releaser = drm_drain_releaser(dev);
		if (releaser) {
			pr_warn("  a device is being released by %s:%d\n",
				releaser->comm, task_pid_nr(releaser));
			continue;
		}
		pr_warn("  %s: %u references%s\n", dev_name(dev->dev),
			kref_read(&dev->ref), dev->registered ? "" : ", not registered");
		drm_dev_refs_print(dev);
	}
}

static const struct module_drain_ops drm_drain_ops = {
	.name = "DRM devices",
	.report = drm_drain_report,
};

static struct drm_drain *drm_drain_find_or_create(struct module *owner, gfp_t gfp)
{
	struct module_drain *base = module_drain_find(owner, &drm_drain_ops);
	struct drm_drain *new;

	if (base)
		return container_of(base, struct drm_drain, base);

	new = kzalloc_obj(*new, gfp);
	if (!new)
		return NULL;
	INIT_LIST_HEAD(&new->devices);

	base = module_drain_add(&new->base, owner, &drm_drain_ops);
	if (base != &new->base)
		kfree(new);

	return container_of(base, struct drm_drain, base);
}

/* The files of a device have to pin the module that the device counts for. */
static void drm_drain_check_fops(struct drm_drain *drain, struct drm_device *dev)
{
	const struct file_operations *fops = dev->driver->fops;
	struct module *owner = drain->base.mod;

	lockdep_assert_held(&drm_drain_lock);

	if (!fops || fops->owner == owner)
		return;

	if (!fops->owner && !drain->orig_fops && module_drain_owner(fops) == owner) {
		pr_warn("file operations of module %s name no owner, files pin it all the same\n",
			module_name(owner));
		drain->fops = *fops;
		drain->fops.owner = owner;
		drain->orig_fops = fops;
	}
	if (fops == drain->orig_fops)
		dev->managed.fops = &drain->fops;
	else
		pr_warn("files of module %s do not pin it, unloading will wait for them\n",
			module_name(owner));
}

/*
 * Account for a device that is about to be initialized. The module is settled here,
 * since drivers may change &drm_device.driver later.
 */
int drm_drain_add_device(struct drm_device *dev)
{
	const struct drm_driver *driver = dev->driver;
	struct drm_drain *drain;
	struct module *owner;

	owner = module_drain_owner(driver);
	if (!owner && driver->fops)
		owner = driver->fops->owner;
	if (!owner)
		owner = THIS_MODULE;
	/* Driver and core are built in, or there is no telling. */
	if (!owner)
		return 0;

	drain = drm_drain_find_or_create(owner, GFP_KERNEL);
	if (!drain)
		return -ENOMEM;

	guard(mutex)(&drm_drain_lock);

	if (!module_drain_get(&drain->base)) {
		pr_err_ratelimited("module %s is being unloaded, no new device for %s\n",
				   module_name(owner), dev_name(dev->dev));
		return -ENODEV;
	}
	drm_drain_check_fops(drain, dev);
	dev->managed.drain = drain;
	list_add_tail(&dev->managed.link, &drain->devices);

	return 0;
}

/* The last reference is gone. Reports do not look into the device any more. */
void drm_drain_begin_release(struct drm_device *dev)
{
	if (!dev->managed.drain)
		return;

	scoped_guard(mutex, &drm_drain_lock)
		drm_drain_set_releaser(dev);
	lock_map_acquire_read(&drm_drain_release_map);
}

/*
 * The device is released but for its memory. When that is gone, too, the count is
 * to be given back with drm_drain_put().
 */
struct drm_drain *drm_drain_end_release(struct drm_device *dev)
{
	struct drm_drain *drain = dev->managed.drain;

	if (!drain)
		return NULL;

	lock_map_release(&drm_drain_release_map);
	scoped_guard(mutex, &drm_drain_lock) {
		list_del(&dev->managed.link);
		put_task_struct(drm_drain_releaser(dev));
	}

	return drain;
}

/* rmmod may free the driver's module and @drain from here on. */
void drm_drain_put(struct drm_drain *drain)
{
	if (drain)
		module_drain_put(&drain->base);
}

static bool drm_drain_is_releaser(struct drm_drain *drain)
{
	struct drm_device *dev;

	guard(mutex)(&drm_drain_lock);

	list_for_each_entry(dev, &drain->devices, managed.link) {
		if (drm_drain_releaser(dev) == current)
			return true;
	}

	return false;
}

/**
 * drm_dev_owner - Get the module that open files of a DRM device pin
 * @dev: DRM device
 *
 * Exporters of dma-bufs, framebuffer devices and the like pin this module, too.
 *
 * Context: Any. The caller holds a reference on @dev.
 * Return: the owner of the driver's file_operations, or if they name none, the module
 * that the device counts for; NULL if the driver is built in.
 */
struct module *drm_dev_owner(struct drm_device *dev)
{
	const struct file_operations *fops = drm_dev_fops(dev);

	if (fops && fops->owner)
		return fops->owner;

	return dev->managed.drain ? dev->managed.drain->base.mod : NULL;
}
EXPORT_SYMBOL(drm_dev_owner);

/**
 * drm_module_drain - wait until all DRM devices of a module have been released
 * @owner: THIS_MODULE
 *
 * To be called from the module's exit function after the driver has been
 * unregistered, and before anything is destroyed that releasing a device needs. The
 * same goes for the error path of its init function, if that destroys such things;
 * else it is better left to the module loader, since somebody may have opened a
 * device meanwhile, and a fatal signal ends the loader's wait. A module can only wait
 * for its own devices.
 *
 * When this function returns, every DRM device that was created with a
 * &struct drm_driver of @owner has been released: &drm_driver.release has
 * returned, all managed actions have run, and the memory of the device has been
 * freed, no matter who dropped the last reference. From the call on there are no
 * new devices, devm_drm_dev_alloc() and its siblings return -ENODEV.
 *
 * The wait ends when the last reference on each device is gone, no matter how
 * long that takes. Signals make no difference. A wait of 10 seconds is reported in
 * the kernel log with the devices, and again whenever its time has doubled. The
 * function does nothing for built-in code.
 *
 * The caller of the last drm_dev_put() may still have to return from it, possibly
 * to code of the module. The module loader waits for this after the exit
 * function, see module_drain_gate(). What code of the module must not do between
 * that put and its return is said at module_drain_put(): for one, use what the exit
 * function destroys after this.
 *
 * Context: May sleep. The caller must not hold a lock that is taken when a device
 * is released, which lockdep checks, nor one that a holder takes before it drops its
 * reference. From a release, or if the module is not being unloaded, it warns and
 * returns without waiting. (The module loader waits, if it is unloaded.)
 */
void drm_module_drain(struct module *owner)
{
	struct drm_drain *drain;

	if (!owner)
		return;
	if (WARN(owner->state == MODULE_STATE_LIVE, "%s is not being unloaded\n",
		 module_name(owner)))
		return;

	/* Even without a device yet, there must be none from now on. */
	drain = drm_drain_find_or_create(owner, GFP_KERNEL | __GFP_NOFAIL);
	if (WARN(drm_drain_is_releaser(drain), "releasing a DRM device cannot wait for itself\n"))
		return;

	lock_map_acquire(&drm_drain_release_map);
	lock_map_release(&drm_drain_release_map);

	/* The module loader frees @drain after this module's exit function. */
	module_drain_wait(&drain->base);
}
EXPORT_SYMBOL(drm_module_drain);
