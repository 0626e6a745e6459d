// SPDX-License-Identifier: GPL-2.0
/*
 * A DRM driver that takes its time to release a device
 *
 * Devices without hardware. Releasing one runs a managed action and then the
 * rest of drm_dev_put() and its caller, and both can be made to take long.
 */

#include <linux/array_size.h>
#include <linux/delay.h>
#include <linux/device/faux.h>
#include <linux/jiffies.h>
#include <linux/kstrtox.h>
#include <linux/kthread.h>
#include <linux/minmax.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/random.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/sprintf.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>

#include <drm/drm_drv.h>
#include <drm/drm_file.h>
#include <drm/drm_gem.h>
#include <drm/drm_ioctl.h>
#include <drm/drm_managed.h>
#include <drm/drm_module.h>
#include <drm/drm_print.h>

#include "drm_drain_test.h"

static unsigned int release_ms;
module_param(release_ms, uint, 0644);
MODULE_PARM_DESC(release_ms, "Time that the release of the device sleeps, in ms");

static int worker_ms = -1;
module_param(worker_ms, int, 0644);
MODULE_PARM_DESC(worker_ms, "If not negative, unloading starts a worker that drops the last reference after so many ms");

static unsigned int tail_ms;
module_param(tail_ms, uint, 0644);
MODULE_PARM_DESC(tail_ms, "Time that the worker runs on after it dropped its reference, in ms");

static bool tail_sleeps;
module_param(tail_sleeps, bool, 0644);
MODULE_PARM_DESC(tail_sleeps, "The worker spends that time sleeping, not busy");

static unsigned int below_ms;
module_param(below_ms, uint, 0444);
MODULE_PARM_DESC(below_ms, "If not 0, drm_drain_below drops the last reference, and returns to drm.ko so many ms later");

/* Where the worker reads from user memory at its end */
static struct mm_struct *tail_mm;
static const char __user *tail_addr;

/* echo ADDRESS > .../tail_user, once, from the process that has it */
static int tail_user_set(const char *val, const struct kernel_param *kp)
{
	unsigned long addr;
	int ret;

	ret = kstrtoul(val, 0, &addr);
	if (ret)
		return ret;
	if (worker_ms < 0 || tail_mm || !current->mm)
		return -EINVAL;

	tail_addr = (const char __user *)addr;
	mmgrab(current->mm);
	tail_mm = current->mm;

	return 0;
}

static const struct kernel_param_ops tail_user_ops = {
	.set = tail_user_set,
};
module_param_cb(tail_user, &tail_user_ops, NULL, 0200);
MODULE_PARM_DESC(tail_user, "Address in the writing process that the worker reads from after it dropped its reference");

/* echo ADDRESS > .../fault */
static int fault_set(const char *val, const struct kernel_param *kp)
{
	unsigned long addr;
	char byte;
	int ret;

	ret = kstrtoul(val, 0, &addr);
	if (ret)
		return ret;

	return copy_from_user(&byte, (const char __user *)addr, 1) ? -EFAULT : 0;
}

static const struct kernel_param_ops fault_ops = {
	.set = fault_set,
};
module_param_cb(fault, &fault_ops, NULL, 0200);
MODULE_PARM_DESC(fault, "Address in the writing process that is read at once");

static bool drain = true;
module_param(drain, bool, 0644);
MODULE_PARM_DESC(drain, "Call drm_module_drain() on exit, if the kernel has it");

static bool drain_locked;
module_param(drain_locked, bool, 0444);
MODULE_PARM_DESC(drain_locked, "Call it with a lock held that the release of the device takes, for lockdep to find");

static unsigned int devices = 1;
module_param(devices, uint, 0444);
MODULE_PARM_DESC(devices, "How many devices to have");

static int init_fails_ms = -1;
module_param(init_fails_ms, int, 0644);
MODULE_PARM_DESC(init_fails_ms, "If not negative, loading fails, and only after so many ms in which there is a device, or when this is made smaller");

static bool thread;
module_param(thread, bool, 0444);
MODULE_PARM_DESC(thread, "Have a thread of the driver's own, which is stopped at the very end of unloading");

static int fail_nth;
module_param(fail_nth, int, 0444);
MODULE_PARM_DESC(fail_nth, "Let this one of the allocations fail that are made for the DRM device (with FAILSLAB)");

static bool fail_exit;
module_param(fail_exit, bool, 0444);
MODULE_PARM_DESC(fail_exit, "Let allocations fail in drm_module_drain() (with FAILSLAB)");

static char *fops = "own";
module_param(fops, charp, 0444);
MODULE_PARM_DESC(fops, "File operations: own; ownerless, which name no owner; none; foreign, which are drm_drain_holder's; or slow, a copy of these with the right owner");

struct drm_drain_device {
	struct drm_device drm;
};

static struct faux_device *drm_drain_faux[16];
/* The devices that the worker lets go first */
static struct drm_device *drm_drain_others[ARRAY_SIZE(drm_drain_faux)];
static unsigned int drm_drain_nr_others;
static DEFINE_MUTEX(drm_drain_lock);

static void drm_drain_read_user(void)
{
	char *str;

	if (mmget_not_zero(tail_mm)) {
		kthread_use_mm(tail_mm);
		/* A function that can be traced, unlike copy_from_user() */
		str = strndup_user(tail_addr, PAGE_SIZE);
		if (!IS_ERR(str))
			kfree(str);
		kthread_unuse_mm(tail_mm);
		mmput(tail_mm);
	}
	mmdrop(tail_mm);
}

static void drm_drain_worker_fn(struct work_struct *work)
{
	struct drm_drain_worker *worker = container_of(work, struct drm_drain_worker, work);
	unsigned long end;
	u8 random[256];

	msleep(worker->before_ms);
	for (int i = 0; i < drm_drain_nr_others; i++)
		drm_dev_put(drm_drain_others[i]);
	pr_info("worker drops the last reference\n");
	drm_dev_put(worker->drm);

	/* In the text of this module */
	end = jiffies + msecs_to_jiffies(worker->after_ms);
	while (time_before(jiffies, end)) {
		/* Not in state D: a driver that sleeps for long does not count as load. */
		if (worker->sleeps)
			schedule_timeout_idle(HZ / 10);
		else
			get_random_bytes(random, sizeof(random));
	}
	if (tail_mm)
		drm_drain_read_user();

	pr_info("worker returns\n");
}

/*
 * Nobody ever waits for this worker. Its reference on the device is to keep the
 * code it runs in memory, just as for any other holder.
 */
static struct drm_drain_worker drm_drain_worker = {
	.work = __WORK_INITIALIZER(drm_drain_worker.work, drm_drain_worker_fn),
};

static void drm_drain_release(struct drm_device *drm, void *data)
{
	pr_info("release begins\n");
	scoped_guard(mutex, &drm_drain_lock) {
		if (release_ms)
			msleep(release_ms);
	}
	pr_info("release ends\n");
}

static struct file_operations drm_drain_fops = {
	.owner = THIS_MODULE,
	DRM_GEM_FOPS,
};

static struct drm_driver drm_drain_drm_driver = {
	.driver_features = DRIVER_GEM | DRIVER_RENDER,
	.fops = &drm_drain_fops,
	.name = "drm_drain",
	.desc = "Driver to test the draining of DRM devices",
	.major = 1,
};

static int drm_drain_probe(struct faux_device *fdev)
{
	struct drm_drain_device *ddev;
	int ret;

#ifdef CONFIG_FAULT_INJECTION
	current->fail_nth = fail_nth;
#endif
	ddev = devm_drm_dev_alloc(&fdev->dev, &drm_drain_drm_driver,
				  struct drm_drain_device, drm);
#ifdef CONFIG_FAULT_INJECTION
	if (current->fail_nth)
		pr_info("has made %u allocations\n", fail_nth - current->fail_nth);
	current->fail_nth = 0;
#endif
	if (IS_ERR(ddev))
		return PTR_ERR(ddev);

	ret = drmm_add_action_or_reset(&ddev->drm, drm_drain_release, NULL);
	if (ret)
		return ret;

	faux_device_set_drvdata(fdev, ddev);

#ifdef HAVE_DRM_MODULE_DRAIN
	/* So that reports have one more that was taken, and one that was dropped like this */
	drm_dev_get(&ddev->drm);
	drm_dev_put_deferred(&ddev->drm);
#endif

	return drm_dev_register(&ddev->drm, 0);
}

static void drm_drain_hand_over(struct drm_device *drm)
{
	typeof(drm_drain_below) *below = symbol_get(drm_drain_below);

	if (!below)
		return;
	drm_dev_get(drm);
	below(drm_printf, drm_dev_put, drm, below_ms);
	symbol_put(drm_drain_below);
}

static void drm_drain_remove(struct faux_device *fdev)
{
	struct drm_drain_device *ddev = faux_device_get_drvdata(fdev);

	drm_dev_unplug(&ddev->drm);

	if (below_ms)
		drm_drain_hand_over(&ddev->drm);
	if (worker_ms >= 0) {
		drm_dev_get(&ddev->drm);
		if (drm_drain_worker.drm) {
			drm_drain_others[drm_drain_nr_others++] = &ddev->drm;
			return;
		}
		drm_drain_worker.drm = &ddev->drm;
		drm_drain_worker.before_ms = worker_ms;
		drm_drain_worker.after_ms = tail_ms;
		drm_drain_worker.sleeps = tail_sleeps;
		queue_work(system_dfl_wq, &drm_drain_worker.work);
	}
}

static const struct file_operations *drm_drain_foreign_fops;

static int drm_drain_choose_fops(void)
{
	if (!strcmp(fops, "own"))
		return 0;

	if (!strcmp(fops, "ownerless")) {
		drm_drain_fops.owner = NULL;
		return 0;
	}

	if (!strcmp(fops, "none")) {
		drm_drain_drm_driver.fops = NULL;
		return 0;
	}

	drm_drain_foreign_fops = symbol_get(drm_drain_holder_fops);
	if (!drm_drain_foreign_fops)
		return -ENOENT;

	if (!strcmp(fops, "foreign")) {
		drm_drain_drm_driver.fops = drm_drain_foreign_fops;
		return 0;
	}

	/* slow */
	drm_drain_fops = *drm_drain_foreign_fops;
	drm_drain_fops.owner = THIS_MODULE;

	return 0;
}

static void drm_drain_put_fops(void)
{
	if (drm_drain_foreign_fops)
		symbol_put(drm_drain_holder_fops);
}

static const struct faux_device_ops drm_drain_faux_ops = {
	.probe = drm_drain_probe,
	.remove = drm_drain_remove,
};

static int drm_drain_create_devices(void)
{
	char name[32];

	for (int i = 0; i < min(devices, ARRAY_SIZE(drm_drain_faux)); i++) {
		snprintf(name, sizeof(name), "drm_drain.%d", i);
		drm_drain_faux[i] = faux_device_create(name, NULL, &drm_drain_faux_ops);
		if (!drm_drain_faux[i])
			return -ENODEV;
	}

	return 0;
}

static void drm_drain_destroy_devices(void)
{
	for (int i = 0; i < ARRAY_SIZE(drm_drain_faux); i++)
		faux_device_destroy(drm_drain_faux[i]);
}

static struct task_struct *drm_drain_task;

static int drm_drain_thread(void *data)
{
	while (!kthread_should_stop())
		schedule_timeout_interruptible(HZ);

	return 0;
}

static int __init drm_drain_init(void)
{
	int ret, ms;

	/* drm_drain_below holds one. */
	if (below_ms && devices != 1)
		return -EINVAL;

	ret = drm_drain_choose_fops();
	if (ret)
		return ret;

	if (thread) {
		drm_drain_task = kthread_run(drm_drain_thread, NULL, "drm_drain");
		if (IS_ERR(drm_drain_task)) {
			drm_drain_put_fops();
			return PTR_ERR(drm_drain_task);
		}
	}

	ret = drm_drain_create_devices();
	if (ret || init_fails_ms >= 0) {
		for (ms = 0; !ret && ms < READ_ONCE(init_fails_ms); ms += 20)
			msleep(20);
		drm_drain_destroy_devices();
		if (drm_drain_task)
			kthread_stop(drm_drain_task);
		drm_drain_put_fops();
		return -ENODEV;
	}

	return 0;
}

static void __exit drm_drain_exit(void)
{
	drm_drain_destroy_devices();
#ifdef HAVE_DRM_MODULE_DRAIN
	if (drain_locked)
		mutex_lock(&drm_drain_lock);
#ifdef CONFIG_FAULT_INJECTION
	current->fail_nth = fail_exit;
#endif
	if (drain)
		drm_module_drain(THIS_MODULE);
#ifdef CONFIG_FAULT_INJECTION
	current->fail_nth = 0;
#endif
	if (drain_locked)
		mutex_unlock(&drm_drain_lock);
#endif
	if (drm_drain_task)
		kthread_stop(drm_drain_task);
	drm_drain_put_fops();
}

module_init(drm_drain_init);
module_exit(drm_drain_exit);

MODULE_DESCRIPTION("DRM driver that takes its time to release a device");
MODULE_LICENSE("GPL");
