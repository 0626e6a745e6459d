// SPDX-License-Identifier: GPL-2.0
/*
 * A foreign holder of a DRM device
 *
 * Takes a reference on the DRM device behind any open file of it, and keeps that
 * reference when the file is closed. It has no reference on the driver's module.
 */

#include <linux/delay.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/hrtimer.h>
#include <linux/kdev_t.h>
#include <linux/kref.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/workqueue.h>

#include <drm/drm_accel.h>
#include <drm/drm_device.h>
#include <drm/drm_drv.h>
#include <drm/drm_file.h>
#include <drm/drm_ioctl.h>
#include <drm/drm_managed.h>

/* The value for the parameter put that waits for all others to let go. */
#define PUT_WHEN_LAST	(-1)

static unsigned int release_ms;
module_param(release_ms, uint, 0644);
MODULE_PARM_DESC(release_ms, "If not 0, releasing the device first takes so many ms in here and then looks at its driver");

static bool put_from_irq;
module_param(put_from_irq, bool, 0644);
MODULE_PARM_DESC(put_from_irq, "Drop the reference in a hard interrupt, if the kernel can do that");

static DEFINE_MUTEX(holder_lock);
static struct drm_device *held;		/* protected by holder_lock */
static bool closing;			/* protected by holder_lock */
static struct delayed_work put_work;
static bool put_when_last;

/* Stays on the device, so keep the module */
static void holder_release(struct drm_device *drm, void *data)
{
	pr_info("release begins\n");
	msleep(release_ms);
	pr_info("release ends, driver is %s\n", drm->driver->name);
	module_put(THIS_MODULE);
}

/* echo FD > .../hold, from the process that has the file open */
static int hold_set(const char *val, const struct kernel_param *kp)
{
	struct drm_device *drm;
	unsigned int fd;
	int ret;

	ret = kstrtouint(val, 0, &fd);
	if (ret)
		return ret;

	CLASS(fd, f)(fd);
	if (fd_empty(f))
		return -EBADF;
	if (!S_ISCHR(file_inode(fd_file(f))->i_mode) ||
	    (imajor(file_inode(fd_file(f))) != DRM_MAJOR &&
	     imajor(file_inode(fd_file(f))) != ACCEL_MAJOR))
		return -EINVAL;
	drm = ((struct drm_file *)fd_file(f)->private_data)->minor->dev;

	guard(mutex)(&holder_lock);
	if (closing)
		return -ESHUTDOWN;
	if (held)
		return -EBUSY;

	if (release_ms) {
		ret = drmm_add_action(drm, holder_release, NULL);
		if (ret)
			return ret;
		__module_get(THIS_MODULE);
	}

	drm_dev_get(drm);
	held = drm;

	return 0;
}

static const struct kernel_param_ops hold_ops = {
	.set = hold_set,
};
module_param_cb(hold, &hold_ops, NULL, 0200);
MODULE_PARM_DESC(hold, "File descriptor of the DRM device to take a reference on");

static struct drm_device *holder_take(void)
{
	struct drm_device *drm;

	guard(mutex)(&holder_lock);
	drm = held;
	held = NULL;

	return drm;
}

#ifdef HAVE_DRM_MODULE_DRAIN
struct irq_put {
	struct hrtimer timer;
	struct drm_device *drm;
};

static enum hrtimer_restart irq_put_fn(struct hrtimer *timer)
{
	struct irq_put *put = container_of(timer, struct irq_put, timer);

	pr_info("is in %s interrupt\n", in_hardirq() ? "a hard" : "no");
	drm_dev_put_deferred(put->drm);

	return HRTIMER_NORESTART;
}
#endif

static void put_work_fn(struct work_struct *work)
{
	while (put_when_last && kref_read(&held->ref) > 1)
		usleep_range(50, 100);

	pr_info("drops its reference\n");
#ifdef HAVE_DRM_MODULE_DRAIN
	if (put_from_irq) {
		struct irq_put put = { .drm = holder_take() };

		hrtimer_setup_on_stack(&put.timer, irq_put_fn, CLOCK_MONOTONIC,
				       HRTIMER_MODE_REL_HARD);
		hrtimer_start(&put.timer, ms_to_ktime(1), HRTIMER_MODE_REL_HARD);
		msleep(20);
		hrtimer_cancel(&put.timer);
		destroy_hrtimer_on_stack(&put.timer);
	}
#endif
	drm_dev_put(holder_take());
	pr_info("has dropped its reference\n");
}

/* echo MS > .../put */
static int put_set(const char *val, const struct kernel_param *kp)
{
	int ms, ret;

	ret = kstrtoint(val, 0, &ms);
	if (ret)
		return ret;
	if (ms < PUT_WHEN_LAST)
		return -EINVAL;

	guard(mutex)(&holder_lock);
	if (closing)
		return -ESHUTDOWN;
	if (!held)
		return -ENOENT;
	if (work_busy(&put_work.work))
		return -EBUSY;

	put_when_last = ms == PUT_WHEN_LAST;
	queue_delayed_work(system_dfl_wq, &put_work, put_when_last ? 0 : msecs_to_jiffies(ms));

	return 0;
}

static const struct kernel_param_ops put_ops = {
	.set = put_set,
};
module_param_cb(put, &put_ops, NULL, 0200);
MODULE_PARM_DESC(put, "Drop the reference after so many ms, or as soon as it is the last one (-1)");

static int __init holder_init(void)
{
	INIT_DELAYED_WORK(&put_work, put_work_fn);

	return 0;
}

static void __exit holder_exit(void)
{
	/* The parameters can still be written to. */
	scoped_guard(mutex, &holder_lock)
		closing = true;

	flush_delayed_work(&put_work);
	drm_dev_put(holder_take());
}

module_init(holder_init);
module_exit(holder_exit);

MODULE_DESCRIPTION("Foreign holder of a DRM device");
MODULE_LICENSE("GPL");
