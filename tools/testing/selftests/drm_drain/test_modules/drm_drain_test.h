/* SPDX-License-Identifier: GPL-2.0 */
#ifndef DRM_DRAIN_TEST_H
#define DRM_DRAIN_TEST_H

#include <linux/fs.h>
#include <linux/workqueue.h>

struct drm_device;
struct drm_printer;

/* drm_drain_driver's worker, which drm_drain_livepatch replaces the function of */
struct drm_drain_worker {
	struct work_struct work;
	/* The reference that it drops */
	struct drm_device *drm;
	/* What it does before and after that, in ms */
	unsigned int before_ms;
	unsigned int after_ms;
	/* Whether it sleeps after that, or is busy */
	bool sleeps;
};

/* drm_drain_holder's, which drm_drain_driver may have instead of its own */
extern const struct file_operations drm_drain_holder_fops;

/* drm_drain_below's, which drops the reference in what drm_printf() calls */
void drm_drain_below(void (*call_fn)(struct drm_printer *p, const char *f, ...),
		     void (*put_fn)(struct drm_device *drm), struct drm_device *drm,
		     unsigned int ms);

#endif
