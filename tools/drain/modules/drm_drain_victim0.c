// SPDX-License-Identifier: GPL-2.0
/*
 * A DRM driver to be unloaded again and again, for the torture test
 *
 * Devices without hardware. drm_drain_torture has references on them, and calls into
 * this module to drop them. The test loads this file under several names: the 0 in
 * the name of this module, and of what it needs of drm_drain_help0, is replaced.
 */

#include <linux/delay.h>
#include <linux/device/faux.h>
#include <linux/err.h>
#include <linux/minmax.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/sprintf.h>

#include <drm/drm_drv.h>
#include <drm/drm_file.h>
#include <drm/drm_gem.h>
#include <drm/drm_ioctl.h>
#include <drm/drm_managed.h>
#include <drm/drm_module.h>

#include "drm_drain_tail.h"

void torture_help0_put(struct torture_actor *actor);

static unsigned int id;
module_param(id, uint, 0444);
MODULE_PARM_DESC(id, "The number of the name");

static unsigned int devices = 1;
module_param(devices, uint, 0444);
MODULE_PARM_DESC(devices, "How many devices to have");

static unsigned int release_ms;
module_param(release_ms, uint, 0444);
MODULE_PARM_DESC(release_ms, "Time that the release of a device sleeps, in ms");

static int init_fails_ms = -1;
module_param(init_fails_ms, int, 0444);
MODULE_PARM_DESC(init_fails_ms, "If not negative, loading fails after so many ms in which there are devices");

static bool drain = true;
module_param(drain, bool, 0444);
MODULE_PARM_DESC(drain, "Wait for the devices on exit, and destroy what their release needs");

static bool pretend;
module_param(pretend, bool, 0444);
MODULE_PARM_DESC(pretend, "Do not wait, and say so nevertheless: for the judges to find");

struct victim_device {
	struct drm_device drm;
	struct torture_device torture;
	void *memory;
};

/* What the release of a device needs, and what the exit function destroys */
static struct kmem_cache *victim_cache;
static struct faux_device *victim_faux[TORTURE_DEVICES];

static void *victim_alloc(void)
{
	return victim_cache ? kmem_cache_alloc(victim_cache, GFP_KERNEL) : kmalloc(64, GFP_KERNEL);
}

/* Managed actions run in reverse order, so this is the last one. */
static void victim_release_last(struct drm_device *drm, void *data)
{
	torture_device_dies(id);
}

static void victim_release(struct drm_device *drm, void *memory)
{
	if (release_ms)
		msleep(release_ms);
	if (victim_cache)
		kmem_cache_free(victim_cache, memory);
	else
		kfree(memory);
}

static int victim_init_device(struct drm_device *drm)
{
	void *memory;
	int ret;

	torture_device_lives(id);
	ret = drmm_add_action_or_reset(drm, victim_release_last, NULL);
	if (ret)
		return ret;

	memory = victim_alloc();
	if (!memory)
		return -ENOMEM;

	return drmm_add_action_or_reset(drm, victim_release, memory);
}

DEFINE_DRM_GEM_FOPS(victim_fops);

static const struct drm_driver victim_drm_driver = {
	.driver_features = DRIVER_GEM | DRIVER_RENDER,
	.fops = &victim_fops,
	.name = "drm_drain_victim",
	.desc = "Driver to test the unloading of a driver again and again",
	.major = 1,
};

static int victim_probe(struct faux_device *fdev)
{
	struct victim_device *vdev;
	int ret;

	vdev = devm_drm_dev_alloc(&fdev->dev, &victim_drm_driver, struct victim_device, drm);
	if (IS_ERR(vdev))
		return PTR_ERR(vdev);

	ret = victim_init_device(&vdev->drm);
	if (ret)
		return ret;

	/* One with everything that user space can see is enough. */
	if (!victim_faux[0]) {
		ret = drm_dev_register(&vdev->drm, 0);
		if (ret)
			return ret;
	}

	faux_device_set_drvdata(fdev, vdev);
	vdev->torture.drm = &vdev->drm;
	torture_device_comes(id, &vdev->torture);

	return 0;
}

static void victim_remove(struct faux_device *fdev)
{
	struct victim_device *vdev = faux_device_get_drvdata(fdev);

	torture_device_goes(&vdev->torture);
	if (vdev->drm.registered)
		drm_dev_unplug(&vdev->drm);
}

static const struct faux_device_ops victim_faux_ops = {
	.probe = victim_probe,
	.remove = victim_remove,
};

static void victim_put(struct torture_actor *actor)
{
	if (actor->creates)
		torture_create(actor);

	if (actor->where == IN_BOTH) {
		torture_help0_put(actor);
		torture_left(actor, id);
		barrier();
	} else {
		torture_put_and_tail(actor, id);
	}
}

static int victim_create(struct device *parent)
{
	struct drm_device *drm = drm_dev_alloc(&victim_drm_driver, parent);
	int ret;

	if (IS_ERR(drm))
		return PTR_ERR(drm);

	ret = victim_init_device(drm);
	drm_dev_put(drm);

	return ret;
}

static const struct torture_victim_ops victim_ops = {
	.put = victim_put,
	.create = victim_create,
};

static void victim_destroy_devices(void)
{
	for (int i = 0; i < ARRAY_SIZE(victim_faux); i++)
		faux_device_destroy(victim_faux[i]);
}

static int victim_create_devices(void)
{
	char name[32];

	for (int i = 0; i < min(devices, ARRAY_SIZE(victim_faux)); i++) {
		snprintf(name, sizeof(name), "drm_drain_victim%u.%d", id, i);
		victim_faux[i] = faux_device_create(name, NULL, &victim_faux_ops);
		if (!victim_faux[i])
			return -ENODEV;
	}

	return 0;
}

static void victim_down(void)
{
	torture_exit_begins(id);
	victim_destroy_devices();
	if (drain)
		drm_module_drain(THIS_MODULE);
	if (drain || pretend)
		torture_exit_drained(id);
	kmem_cache_destroy(victim_cache);
	torture_exit_ends(id);
}

static int __init victim_init(void)
{
	int ret;

	ret = torture_loads(id, THIS_MODULE, &victim_ops, torture_help0_put);
	if (ret)
		return ret;

	if (drain) {
		victim_cache = kmem_cache_create("drm_drain_victim", 64, 0, SLAB_NO_MERGE, NULL);
		if (!victim_cache)
			return -ENOMEM;
	}

	ret = victim_create_devices();
	if (!ret && init_fails_ms >= 0) {
		msleep(init_fails_ms);
		ret = -ENODEV;
	}
	if (ret)
		victim_down();

	return ret;
}

static void __exit victim_exit(void)
{
	victim_down();
}

module_init(victim_init);
module_exit(victim_exit);

MODULE_DESCRIPTION("Victim of the torture test");
MODULE_LICENSE("GPL");
