// SPDX-License-Identifier: GPL-2.0
/*
 * A holder below the DRM core
 *
 * Drops a reference in a function that drm.ko has called, and stays there. This module
 * does not use drm.ko, so that nobody has a reference on drm.ko meanwhile.
 */

#include <linux/delay.h>
#include <linux/export.h>
#include <linux/module.h>
#include <linux/workqueue.h>

#include <drm/drm_print.h>

#include "drm_drain_test.h"

/* How long the reference is held, in ms */
#define BEFORE_MS	500

static void (*call)(struct drm_printer *p, const char *f, ...);
static void (*put)(struct drm_device *drm);
static struct drm_device *held;
static unsigned int after_ms;

static void below_print(struct drm_printer *p, struct va_format *vaf)
{
	msleep(BEFORE_MS);
	put(held);
	msleep(after_ms);
	pr_info("returns to the core\n");
}

static void below_work_fn(struct work_struct *work)
{
	struct drm_printer p = { .printfn = below_print };

	call(&p, "%s", "");
	pr_info("has returned from the core\n");
}

static DECLARE_WORK(below_work, below_work_fn);

void drm_drain_below(void (*call_fn)(struct drm_printer *p, const char *f, ...),
		     void (*put_fn)(struct drm_device *drm), struct drm_device *drm,
		     unsigned int ms)
{
	call = call_fn;
	put = put_fn;
	held = drm;
	after_ms = ms;
	queue_work(system_dfl_wq, &below_work);
}
EXPORT_SYMBOL_GPL(drm_drain_below);

static void __exit below_exit(void)
{
	flush_work(&below_work);
}

module_exit(below_exit);

MODULE_DESCRIPTION("Holder of a DRM device below the DRM core");
MODULE_LICENSE("GPL");
