// SPDX-License-Identifier: GPL-2.0
/*
 * A driver of the GPU scheduler whose jobs are done at once
 *
 * Its own fences have a release function, as those of real drivers do: nobody may keep
 * one of these by keeping the scheduler's fence of a job that is done.
 */

#include <linux/module.h>

#if IS_ENABLED(CONFIG_DRM_SCHED)
#include <linux/device.h>
#include <linux/dma-fence.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/slab.h>
#include <linux/sync_file.h>
#include <linux/wait_bit.h>

#include <drm/gpu_scheduler.h>

static struct drm_gpu_scheduler scheduler;
static struct drm_sched_entity entity;
static DEFINE_MUTEX(submit_lock);
static bool leave;
module_param(leave, bool, 0444);
MODULE_PARM_DESC(leave, "Leave a fence that is not signaled");

static struct dma_fence left;
static u64 context;
static atomic64_t seqno;
static atomic_t jobs;

static const char *hw_fence_name(struct dma_fence *fence)
{
	return KBUILD_MODNAME;
}

static void hw_fence_release(struct dma_fence *fence)
{
	dma_fence_free(fence);
}

static const struct dma_fence_ops hw_fence_ops = {
	.get_driver_name = hw_fence_name,
	.get_timeline_name = hw_fence_name,
	.release = hw_fence_release,
};

static struct dma_fence *run_job(struct drm_sched_job *job)
{
	struct dma_fence *fence = kzalloc_obj(*fence);

	if (!fence)
		return ERR_PTR(-ENOMEM);
	dma_fence_init(fence, &hw_fence_ops, NULL, context, atomic64_inc_return(&seqno));
	dma_fence_signal(fence);

	return fence;
}

static enum drm_gpu_sched_stat timedout_job(struct drm_sched_job *job)
{
	return DRM_GPU_SCHED_STAT_NO_HANG;
}

static void free_job(struct drm_sched_job *job)
{
	drm_sched_job_cleanup(job);
	kfree(job);
	atomic_dec_and_wake_up(&jobs);
}

static const struct drm_sched_backend_ops backend_ops = {
	.run_job = run_job,
	.timedout_job = timedout_job,
	.free_job = free_job,
};

/* Returns the sync_file of a new job, which is or will be done */
static long submit(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct drm_sched_job *job;
	struct sync_file *sync;
	int ret, fd;

	if (cmd != _IO('F', 0))
		return -ENOTTY;

	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;

	job = kzalloc_obj(*job);
	if (!job) {
		ret = -ENOMEM;
		goto err_fd;
	}

	mutex_lock(&submit_lock);
	ret = drm_sched_job_init(job, &entity, 1, NULL, 0);
	if (ret) {
		mutex_unlock(&submit_lock);
		kfree(job);
		goto err_fd;
	}
	atomic_inc(&jobs);
	drm_sched_job_arm(job);
	sync = sync_file_create(&job->s_fence->finished);
	drm_sched_entity_push_job(job);
	mutex_unlock(&submit_lock);
	if (!sync) {
		ret = -ENOMEM;
		goto err_fd;
	}
	fd_install(fd, sync->file);

	return fd;

err_fd:
	put_unused_fd(fd);
	return ret;
}

static const struct file_operations misc_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = submit,
};

static struct miscdevice misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = KBUILD_MODNAME,
	.fops = &misc_fops,
};

static int __init dma_fence_sched_init(void)
{
	struct drm_gpu_scheduler *list[] = { &scheduler };
	struct drm_sched_init_args args = {
		.ops = &backend_ops,
		.num_rqs = DRM_SCHED_PRIORITY_COUNT,
		.credit_limit = 1,
		.timeout = MAX_SCHEDULE_TIMEOUT,
		.name = KBUILD_MODNAME,
	};
	int ret;

	context = dma_fence_context_alloc(1);
	args.dev = root_device_register(KBUILD_MODNAME);
	if (IS_ERR(args.dev))
		return PTR_ERR(args.dev);

	ret = drm_sched_init(&scheduler, &args);
	if (ret)
		goto err_device;

	ret = drm_sched_entity_init(&entity, DRM_SCHED_PRIORITY_NORMAL, list, 1, NULL);
	if (ret)
		goto err_sched;

	ret = misc_register(&misc);
	if (ret)
		goto err_entity;

	if (leave)
		dma_fence_init(&left, &hw_fence_ops, NULL, context, 0);

	return 0;

err_entity:
	drm_sched_entity_destroy(&entity);
err_sched:
	drm_sched_fini(&scheduler);
err_device:
	root_device_unregister(args.dev);
	return ret;
}

static void __exit dma_fence_sched_exit(void)
{
	struct device *dev = scheduler.dev;

	misc_deregister(&misc);
	/* The scheduler forgets jobs that are done, but not freed. */
	wait_var_event(&jobs, !atomic_read(&jobs));
	drm_sched_entity_destroy(&entity);
	drm_sched_fini(&scheduler);
	root_device_unregister(dev);
}

#else

/* Without a driver that selects it. There has to be a module to be installed. */
static int __init dma_fence_sched_init(void)
{
	return -EOPNOTSUPP;
}

static void __exit dma_fence_sched_exit(void)
{
}

#endif

module_init(dma_fence_sched_init);
module_exit(dma_fence_sched_exit);

MODULE_DESCRIPTION("Fences of the GPU scheduler, for the self tests");
MODULE_LICENSE("GPL");
