// SPDX-License-Identifier: MIT

#define pr_fmt(fmt) "[drm] " fmt

#include <kunit/visibility.h>

#include <linux/debugfs.h>
#include <linux/export.h>
#include <linux/list.h>
#include <linux/lockdep.h>
#include <linux/module.h>
#include <linux/module_drain.h>
#include <linux/mutex.h>
#include <linux/notifier.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include <linux/string.h>

#include <drm/drm_client.h>
#include <drm/drm_device.h>
#include <drm/drm_drv.h>
#include <drm/drm_file.h>
#include <drm/drm_module.h>
#include <drm/drm_print.h>

#include "drm_internal.h"
#include "drm_trace.h"

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
 *   in memory. No module reference is needed on top. What the code may still do
 *   with the device is another question, see drm_dev_enter().
 *
 * - For drivers: the module's exit function calls drm_module_drain() after it
 *   unregistered the driver and before it destroys what is needed for releasing
 *   a device: caches, workqueues, and other globals. drm_module_pci_driver() and
 *   the other helpers here do this for their users.
 *
 * The driver is the module that &drm_driver.fops belongs to. Other modules which
 * provide parts of the device, like bridges, have to see to it themselves that
 * they are not needed anymore.
 *
 * Devices that are still out when the exit function has returned, because the
 * driver does not call drm_module_drain(), are waited for right after it. This is
 * a last resort: what the exit function has destroyed is missing by then.
 *
 * The module's text is not freed either before every task has left it, those
 * that dropped a reference on the device included. Helper modules stay as long
 * as the driver that calls them does. Those that drop references on devices
 * themselves use drm_module_helper(), to stay as long as somebody is on the way
 * out of that. What a module runs in threads and workers of its own, helper
 * modules included, must come to an end in its exit function, as always.
 *
 * Both of these waits after the exit function hold the lock of the module
 * notifiers. If one takes long, a module that registers a module notifier is
 * stopped, and all modules that are loaded or unloaded after that one.
 *
 * A drain that takes long tells in the kernel log which devices it waits for and
 * who is known to use them. The file "modules" in the dri directory of debugfs
 * has the same at any time, for all modules.
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
	/** @link: in drm_modules, protected by drm_modules_lock */
	struct list_head link;
	/** @owner: the module */
	struct module *owner;
	/** @drain: one count for each device that was not released yet */
	struct module_drain drain;
	/** @lock: protects @devices and the members of those */
	struct mutex lock;
	/** @devices: the &struct drm_module_device, oldest first */
	struct list_head devices;
	/** @refused: a device that came too late was reported, drm_modules_lock */
	bool refused;
};

/**
 * struct drm_module_device - a DRM device of a module
 *
 * Not a part of the &drm_device because it is needed until that was freed.
 */
struct drm_module_device {
	/** @link: in &drm_module.devices */
	struct list_head link;
	/** @module: the module, which this is counted in */
	struct drm_module *module;
	/** @dev: the device, or NULL once its release began */
	struct drm_device *dev;
	/** @releaser: the task that releases the device */
	struct task_struct *releaser;
	/** @name: the name of the parent device */
	char name[];
};

/* Protects drm_modules. Taken before drm_module.lock. */
static DEFINE_MUTEX(drm_modules_lock);
static LIST_HEAD(drm_modules);

#ifdef CONFIG_LOCKDEP
/*
 * Held while a device is released and taken by who waits for that, to find the
 * locks that would turn this into a deadlock, even if nobody has to wait.
 */
static struct lockdep_map drm_module_release_map =
	STATIC_LOCKDEP_MAP_INIT("drm_dev_release", &drm_module_release_map);
#endif

/* Only who may use the files and clients of a device is told, nobody is waited for. */
static void drm_module_print_users(struct drm_device *dev, struct drm_printer *p)
{
	struct drm_client_dev *client;
	struct drm_file *file;

	if (mutex_trylock(&dev->filelist_mutex)) {
		list_for_each_entry(file, &dev->filelist, lhead) {
			struct task_struct *task;

			guard(rcu)();
			task = pid_task(rcu_dereference(file->pid), PIDTYPE_TGID);
			drm_printf(p, "    open file of %s:%d\n", task ? task->comm : "<exited>",
				   pid_nr(rcu_dereference(file->pid)));
		}
		mutex_unlock(&dev->filelist_mutex);
	}

	if (mutex_trylock(&dev->clientlist_mutex)) {
		list_for_each_entry(client, &dev->clientlist, list)
			drm_printf(p, "    in-kernel client %s\n", client->name);
		mutex_unlock(&dev->clientlist_mutex);
	}

	if (atomic_read(&dev->managed.exports))
		drm_printf(p, "    %d exported dma-bufs\n", atomic_read(&dev->managed.exports));
}

static void drm_module_print(struct drm_module *module, struct drm_printer *p)
{
	struct drm_module_device *mdev;

	/*
	 * Keeps what is not being released yet from being so. All that is done
	 * meanwhile is to print, no other lock is waited for.
	 */
	guard(mutex)(&module->lock);

	list_for_each_entry(mdev, &module->devices, link) {
		struct drm_device *dev = mdev->dev;
		struct drm_minor *minor;

		if (!dev) {
			drm_printf(p, "  %s: being released by %s:%d\n", mdev->name,
				   mdev->releaser->comm, task_pid_nr(mdev->releaser));
			continue;
		}

		minor = dev->primary ?: dev->accel;
		drm_printf(p, "  %s: minor %d%s, %u references%s\n", mdev->name,
			   minor ? minor->index : -1, dev->registered ? "" : ", not registered",
			   kref_read(&dev->ref),
			   work_pending(&dev->managed.release_work) ? ", release is queued" : "");
		drm_module_print_users(dev, p);
		drm_dev_refs_print(dev, p);
	}
}

static void drm_module_printfn(struct drm_printer *p, struct va_format *vaf)
{
	pr_warn("%pV", vaf);
}

static void drm_module_report(struct module_drain *drain, struct task_struct *waiter,
			      unsigned int secs)
{
	struct drm_module *module = container_of(drain, struct drm_module, drain);
	struct drm_printer p = { .printfn = drm_module_printfn };

	pr_warn("%s:%d has waited for %u s until the DRM devices of module %s are released:\n",
		waiter->comm, task_pid_nr(waiter), secs, module_name(module->owner));
	drm_module_print(module, &p);
}

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
	module_drain_init(&module->drain, drm_module_report);
	mutex_init(&module->lock);
	INIT_LIST_HEAD(&module->devices);
	list_add_tail(&module->link, &drm_modules);

	return module;
}

/*
 * Account for a device that is about to be initialized. Returns NULL for devices
 * without an owner, like those of built-in drivers, or an error. This is where the
 * owner of the device is settled, drivers are known to change &drm_device.driver
 * later.
 */
struct drm_module_device *drm_module_new_device(const struct drm_driver *driver,
						struct device *parent)
{
	struct module *owner = driver->fops ? driver->fops->owner : NULL;
	const char *name = dev_name(parent) ?: "";
	size_t size = strlen(name) + 1;
	struct drm_module_device *mdev;
	struct drm_module *module;

	if (!owner)
		return NULL;

	mdev = kzalloc_flex(*mdev, name, size);
	if (!mdev)
		return ERR_PTR(-ENOMEM);
	INIT_LIST_HEAD(&mdev->link);
	memcpy(mdev->name, name, size);

	guard(mutex)(&drm_modules_lock);

	module = drm_module_find_or_create(owner, GFP_KERNEL);
	if (!module) {
		kfree(mdev);
		return ERR_PTR(-ENOMEM);
	}

	if (!module_drain_get(&module->drain)) {
		if (!module->refused)
			pr_err("module %s is being unloaded, no new device for %s\n",
			       module_name(owner), name);
		module->refused = true;
		kfree(mdev);
		return ERR_PTR(-ENODEV);
	}
	mdev->module = module;

	return mdev;
}

/* The device has been initialized and can be shown. */
void drm_module_add_device(struct drm_module_device *mdev, struct drm_device *dev)
{
	dev->managed.module_device = mdev;
	if (!mdev)
		return;

	mdev->dev = dev;
	scoped_guard(mutex, &mdev->module->lock)
		list_add_tail(&mdev->link, &mdev->module->devices);
	trace_drm_module_device_add(module_name(mdev->module->owner), mdev->name);
}

/* The last reference is gone. From here on the device is not looked at anymore. */
struct drm_module_device *drm_module_release_begin(struct drm_device *dev)
{
	struct drm_module_device *mdev = dev->managed.module_device;

	if (!mdev)
		return NULL;

	scoped_guard(mutex, &mdev->module->lock) {
		mdev->dev = NULL;
		mdev->releaser = get_task_struct(current);
	}
	lock_map_acquire_read(&drm_module_release_map);

	return mdev;
}

/* The device has been freed. */
void drm_module_release_end(struct drm_module_device *mdev)
{
	if (!mdev)
		return;

	lock_map_release(&drm_module_release_map);
	trace_drm_module_device_release(module_name(mdev->module->owner), mdev->name);
	drm_module_free_device(mdev);
}

/*
 * The counterpart of drm_module_new_device(). The module may be unloaded once it
 * was called, and neither @mdev nor code of the driver may be used afterwards.
 */
void drm_module_free_device(struct drm_module_device *mdev)
{
	struct drm_module *module;

	if (!mdev)
		return;

	module = mdev->module;
	scoped_guard(mutex, &module->lock)
		list_del(&mdev->link);
	if (mdev->releaser)
		put_task_struct(mdev->releaser);
	kfree(mdev);
	module_drain_put(&module->drain);
}

static bool drm_module_releasing(struct drm_module *module)
{
	struct drm_module_device *mdev;

	guard(mutex)(&module->lock);

	list_for_each_entry(mdev, &module->devices, link) {
		if (mdev->releaser == current)
			return true;
	}

	return false;
}

static void drm_module_wait(struct drm_module *module, unsigned int state)
{
	lock_map_acquire(&drm_module_release_map);
	lock_map_release(&drm_module_release_map);

	trace_drm_module_drain_begin(module_name(module->owner),
				     module_drain_count(&module->drain));
	module_drain_wait(&module->drain, state);
	trace_drm_module_drain_end(module_name(module->owner));
}

/**
 * drm_module_drain - wait until all DRM devices of a module have been released
 * @owner: the module, usually THIS_MODULE
 *
 * To be called from the module's exit function (or from the error path of its
 * init function, if that may have left devices behind) after the driver has been
 * unregistered, and before anything is destroyed that releasing a device needs.
 *
 * When this function returns, every DRM device that was created with a driver
 * whose &drm_driver.fops belong to @owner has been released:
 * &drm_driver.release has returned, all managed actions have run, and the memory
 * of the device has been freed, no matter who dropped the last reference. From
 * the call on there are no new devices, devm_drm_dev_alloc() and its siblings
 * return -ENODEV.
 *
 * Waits for as long as it takes, that is until all users of the device are
 * gone. Signals make no difference. A wait that takes long is reported in the
 * kernel log with the devices and their known users. Does nothing for built-in
 * code.
 *
 * Not all code of the module has necessarily come to its end: the caller of the
 * last drm_dev_put() may still have to return. The DRM core waits for this after
 * the exit function, see module_drain_sync_text() for the limits of that on
 * architectures without reliable stack traces.
 *
 * Context: May sleep. The caller must not hold a lock that is taken when a device
 * is released, which lockdep checks, and must not be called from there, which is
 * warned about and refused.
 */
void drm_module_drain(struct module *owner)
{
	struct drm_module *module;

	if (!owner)
		return;

	/* Even without a device yet, there must not be one from now on. */
	scoped_guard(mutex, &drm_modules_lock)
		module = drm_module_find_or_create(owner, GFP_KERNEL | __GFP_NOFAIL);

	if (WARN(drm_module_releasing(module), "releasing a DRM device cannot wait for itself\n"))
		return;

	/*
	 * @module stays valid without the lock: it is freed by
	 * drm_module_going() alone, which runs for @owner after its exit or
	 * failed init function, of which this is a part.
	 */
	drm_module_wait(module, TASK_IDLE | TASK_FREEZABLE);
}
EXPORT_SYMBOL(drm_module_drain);

/*
 * The last gate: the exit or the failed init function of @owner has returned,
 * its text is still there.
 */
VISIBLE_IF_KUNIT void drm_module_going(struct module *owner)
{
	struct drm_module *module;
	unsigned int late;

	scoped_guard(mutex, &drm_modules_lock)
		module = drm_module_find(owner);
	if (!module)
		return;

	late = module_drain_count(&module->drain);
	if (late)
		pr_notice("module %s leaves %u DRM devices behind, waiting; it should call drm_module_drain() before\n",
			  module_name(owner), late);

	/*
	 * Unsafe, since the module notifiers' lock is held, see the comment on
	 * the last resort at the top. It is no better if this is not frozen.
	 */
	drm_module_wait(module, TASK_IDLE | TASK_FREEZABLE_UNSAFE);

	/* There may be tasks that have yet to leave drm_dev_put() and its caller. */
	module_drain_sync_text(owner);

	/* The exit function's own was too early for what those have queued. */
	rcu_barrier();

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

#ifdef CONFIG_DEBUG_FS
static int modules_show(struct seq_file *m, void *unused)
{
	struct drm_printer p = drm_seq_file_printer(m);
	struct drm_module *module;

	guard(mutex)(&drm_modules_lock);

	list_for_each_entry(module, &drm_modules, link) {
		drm_printf(&p, "%s: %u devices%s\n", module_name(module->owner),
			   module_drain_count(&module->drain),
			   module_drain_closed(&module->drain) ? ", draining" : "");
		drm_module_print(module, &p);
	}

	return 0;
}
DEFINE_SHOW_ATTRIBUTE(modules);

void drm_module_debugfs_init(struct dentry *root)
{
	debugfs_create_file("modules", 0444, root, NULL, &modules_fops);
}
#endif

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
	module_drain_sync_text(THIS_MODULE);
}
