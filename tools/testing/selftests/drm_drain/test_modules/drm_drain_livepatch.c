// SPDX-License-Identifier: GPL-2.0
/*
 * Replace the worker of drm_drain_driver
 *
 * The replacement does the same, and has no return address into the driver. It uses
 * data of the driver to the end.
 */

#include <linux/delay.h>
#include <linux/livepatch.h>
#include <linux/module.h>

#include <drm/drm_drv.h>

#include "drm_drain_test.h"

static void patched_worker(struct work_struct *work)
{
	struct drm_drain_worker *worker = container_of(work, struct drm_drain_worker, work);

	msleep(worker->before_ms);
	drm_dev_put(worker->drm);
	msleep(worker->after_ms);
	pr_info("worker returns, had to sleep for %u ms\n", worker->after_ms);
}

static struct klp_func funcs[] = {
	{
		.old_name = "drm_drain_worker_fn",
		.new_func = patched_worker,
	}, { }
};

static struct klp_object objs[] = {
	{
		.name = "drm_drain_driver",
		.funcs = funcs,
	}, { }
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objs,
};

static int __init livepatch_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit livepatch_exit(void)
{
}

module_init(livepatch_init);
module_exit(livepatch_exit);

MODULE_DESCRIPTION("Livepatch of the driver to test draining");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
