// SPDX-License-Identifier: GPL-2.0
/*
 * A foreign holder of a DRM device
 *
 * Takes a reference on the DRM device behind any open file of it, and keeps that
 * reference when the file is closed. It has no reference on the driver's module.
 */

#include <linux/atomic.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/export.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/hrtimer.h>
#include <linux/kdev_t.h>
#include <linux/kref.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/string.h>
#include <linux/sysfs.h>
#include <linux/timer.h>
#include <linux/wait_bit.h>
#include <linux/workqueue.h>

#include <drm/drm_accel.h>
#include <drm/drm_device.h>
#include <drm/drm_drv.h>
#include <drm/drm_file.h>
#include <drm/drm_gem.h>
#include <drm/drm_ioctl.h>
#include <drm/drm_managed.h>

#include "drm_drain_test.h"

/* The value for the parameter put that waits for all others to let go. */
#define PUT_WHEN_LAST	(-1)

static unsigned int release_ms;
module_param(release_ms, uint, 0644);
MODULE_PARM_DESC(release_ms, "If not 0, releasing the device first takes so many ms in here and then looks at its driver");

enum { PUT_FROM_WORKER, PUT_FROM_THREAD, PUT_FROM_DEFERRED, PUT_FROM_SOFTIRQ, PUT_FROM_HARDIRQ };

static const char * const put_from_names[] = {
	[PUT_FROM_WORKER] = "worker",
	[PUT_FROM_THREAD] = "thread",
	[PUT_FROM_DEFERRED] = "deferred",
	[PUT_FROM_SOFTIRQ] = "softirq",
	[PUT_FROM_HARDIRQ] = "hardirq",
};

static int put_from;

static int put_from_set(const char *val, const struct kernel_param *kp)
{
	int i = sysfs_match_string(put_from_names, val);

	if (i < 0)
		return i;
	put_from = i;

	return 0;
}

static int put_from_get(char *buf, const struct kernel_param *kp)
{
	return sysfs_emit(buf, "%s\n", put_from_names[put_from]);
}

static const struct kernel_param_ops put_from_ops = {
	.set = put_from_set,
	.get = put_from_get,
};
module_param_cb(put_from, &put_from_ops, NULL, 0644);
MODULE_PARM_DESC(put_from, "Where to drop the reference: worker, thread, deferred (from a worker to another one), softirq, or hardirq");

static DEFINE_MUTEX(holder_lock);
static struct drm_device *held;		/* protected by holder_lock */
static bool closing;			/* protected by holder_lock */
static struct delayed_work put_work;
static bool put_when_last;
static atomic_t releases;		/* calls of holder_release() to come */

static void holder_release(struct drm_device *drm, void *data)
{
	pr_info("release begins\n");
	msleep(release_ms);
	pr_info("release ends, driver is %s\n", drm->driver->name);
	if (atomic_dec_and_test(&releases))
		wake_up_var(&releases);
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
		atomic_inc(&releases);
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

static bool held_by_others(void)
{
	guard(mutex)(&holder_lock);

	return held && kref_read(&held->ref) > 1;
}

struct put {
	struct hrtimer hrtimer;
	struct timer_list timer;
	struct drm_device *drm;
	struct completion done;
};

static int put_thread_fn(void *data)
{
	struct put *put = data;

	drm_dev_put(put->drm);
	complete(&put->done);

	return 0;
}

static void put_in_thread(struct put *put)
{
	struct task_struct *task = kthread_create(put_thread_fn, put, "drm_drain_put");

	if (IS_ERR(task)) {
		drm_dev_put(put->drm);
		return;
	}

	/* Must have left this module before that may go */
	get_task_struct(task);
	wake_up_process(task);
	wait_for_completion(&put->done);
	kthread_stop_put(task);
}

#ifdef HAVE_DRM_MODULE_DRAIN
static void put_timer_fn(struct timer_list *timer)
{
	struct put *put = timer_container_of(put, timer, timer);

	pr_info("is in a soft interrupt: %d\n", !!in_serving_softirq());
	drm_dev_put_deferred(put->drm);
	complete(&put->done);
}

static void put_in_softirq(struct put *put)
{
	timer_setup_on_stack(&put->timer, put_timer_fn, 0);
	mod_timer(&put->timer, jiffies + 1);
	wait_for_completion(&put->done);
	timer_delete_sync(&put->timer);
	timer_destroy_on_stack(&put->timer);
}

static enum hrtimer_restart put_hrtimer_fn(struct hrtimer *timer)
{
	struct put *put = container_of(timer, struct put, hrtimer);

	pr_info("is in a hard interrupt: %d\n", !!in_hardirq());
	drm_dev_put_deferred(put->drm);

	return HRTIMER_NORESTART;
}

static void put_in_hardirq(struct put *put)
{
	hrtimer_setup_on_stack(&put->hrtimer, put_hrtimer_fn, CLOCK_MONOTONIC,
			       HRTIMER_MODE_REL_HARD);
	hrtimer_start(&put->hrtimer, ms_to_ktime(1), HRTIMER_MODE_REL_HARD);
	while (hrtimer_active(&put->hrtimer))
		msleep(20);
	destroy_hrtimer_on_stack(&put->hrtimer);
}
#else
/* Without drm_dev_put_deferred(), this cannot be done in interrupts. */
#define drm_dev_put_deferred	drm_dev_put
#define put_in_softirq	put_in_thread
#define put_in_hardirq	put_in_thread
#endif

static void put_work_fn(struct work_struct *work)
{
	struct put put = {};

	while (put_when_last && held_by_others())
		usleep_range(50, 100);

	pr_info("drops its reference from %s\n", put_from_names[put_from]);
	put.drm = holder_take();
	init_completion(&put.done);
	switch (put_from) {
	case PUT_FROM_THREAD:
		put_in_thread(&put);
		break;
	case PUT_FROM_DEFERRED:
		drm_dev_put_deferred(put.drm);
		break;
	case PUT_FROM_SOFTIRQ:
		put_in_softirq(&put);
		break;
	case PUT_FROM_HARDIRQ:
		put_in_hardirq(&put);
		break;
	default:
		drm_dev_put(put.drm);
		break;
	}
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

static unsigned int close_ms;
module_param(close_ms, uint, 0644);
MODULE_PARM_DESC(close_ms, "Time that closing a file with drm_drain_holder_fops sleeps in here at its end");

static int holder_release_file(struct inode *inode, struct file *filp)
{
	int ret = drm_release(inode, filp);

	if (close_ms) {
		pr_info("has closed the file\n");
		msleep(close_ms);
		pr_info("returns from closing the file\n");
	}

	return ret;
}

/* File operations that drm_drain_driver may have instead of its own */
const struct file_operations drm_drain_holder_fops = {
	.owner = THIS_MODULE,
	DRM_GEM_FOPS,
	.release = holder_release_file,
};
EXPORT_SYMBOL_GPL(drm_drain_holder_fops);

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

	/* Managed actions are code that the drain of the driver knows nothing of. */
	wait_var_event(&releases, !atomic_read(&releases));
	/* Those who have woken this have a few instructions to go. */
	msleep(100);
}

module_init(holder_init);
module_exit(holder_exit);

MODULE_DESCRIPTION("Foreign holder of a DRM device");
MODULE_LICENSE("GPL");
