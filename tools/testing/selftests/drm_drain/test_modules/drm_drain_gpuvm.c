// SPDX-License-Identifier: GPL-2.0
/*
 * A DRM driver whose GPU VA space outlives everything else of it
 *
 * One device, without hardware, and one drm_gpuvm. Unloading leaves that to a
 * worker, or to a timer, which drops the last reference: it frees the VA space,
 * with a callback into this module, and it is the last to hold the device.
 */

#include <linux/device/faux.h>
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/timer.h>
#include <linux/workqueue.h>

#include <drm/drm_drv.h>
#include <drm/drm_file.h>
#include <drm/drm_gem.h>
#include <drm/drm_gpuvm.h>
#include <drm/drm_ioctl.h>
#include <drm/drm_module.h>

static unsigned int put_ms = 500;
module_param(put_ms, uint, 0444);
MODULE_PARM_DESC(put_ms, "When the last reference on the VA space is dropped, in ms after the device was removed");

static bool put_atomic;
module_param(put_atomic, bool, 0444);
MODULE_PARM_DESC(put_atomic, "Do it in a timer, where nothing may sleep");

struct drm_drain_vm {
	struct drm_gpuvm base;
	struct timer_list timer;
	struct delayed_work work;
};

struct drm_drain_gpuvm_device {
	struct drm_device drm;
	struct drm_drain_vm *vm;
};

static void drm_drain_vm_free(struct drm_gpuvm *gpuvm)
{
	struct drm_drain_vm *vm = container_of(gpuvm, struct drm_drain_vm, base);

	pr_info("frees the VA space of %s\n", gpuvm->drm->driver->name);
	kfree(vm);
}

static const struct drm_gpuvm_ops drm_drain_gpuvm_ops = {
	.vm_free = drm_drain_vm_free,
};

static void drm_drain_gpuvm_work(struct work_struct *work)
{
	struct drm_drain_vm *vm = container_of(to_delayed_work(work), struct drm_drain_vm, work);

	drm_gpuvm_put(&vm->base);
}

static void drm_drain_gpuvm_timer(struct timer_list *timer)
{
	struct drm_drain_vm *vm = timer_container_of(vm, timer, timer);

	drm_gpuvm_put(&vm->base);
}

DEFINE_DRM_GEM_FOPS(drm_drain_gpuvm_fops);

static const struct drm_driver drm_drain_gpuvm_drm_driver = {
	.driver_features = DRIVER_GEM | DRIVER_RENDER,
	.fops = &drm_drain_gpuvm_fops,
	.name = "drm_drain_gpuvm",
	.desc = "Driver to test the draining of DRM devices with a VA space",
	.major = 1,
};

static int drm_drain_gpuvm_probe(struct faux_device *fdev)
{
	struct drm_drain_gpuvm_device *gdev;
	struct drm_gem_object *r_obj;
	struct drm_drain_vm *vm;
	int ret;

	gdev = devm_drm_dev_alloc(&fdev->dev, &drm_drain_gpuvm_drm_driver,
				  struct drm_drain_gpuvm_device, drm);
	if (IS_ERR(gdev))
		return PTR_ERR(gdev);

	ret = drm_dev_register(&gdev->drm, 0);
	if (ret)
		return ret;

	vm = kzalloc_obj(*vm);
	r_obj = drm_gpuvm_resv_object_alloc(&gdev->drm);
	if (!vm || !r_obj) {
		kfree(vm);
		if (r_obj)
			drm_gem_object_put(r_obj);
		drm_dev_unplug(&gdev->drm);
		return -ENOMEM;
	}
	INIT_DELAYED_WORK(&vm->work, drm_drain_gpuvm_work);
	timer_setup(&vm->timer, drm_drain_gpuvm_timer, 0);
	drm_gpuvm_init(&vm->base, "drm_drain", 0, &gdev->drm, r_obj, 0, SZ_1G, 0, 0,
		       &drm_drain_gpuvm_ops);
	drm_gem_object_put(r_obj);

	gdev->vm = vm;
	faux_device_set_drvdata(fdev, gdev);

	return 0;
}

static void drm_drain_gpuvm_remove(struct faux_device *fdev)
{
	struct drm_drain_gpuvm_device *gdev = faux_device_get_drvdata(fdev);

	drm_dev_unplug(&gdev->drm);
	if (put_atomic)
		mod_timer(&gdev->vm->timer, jiffies + msecs_to_jiffies(put_ms));
	else
		queue_delayed_work(system_dfl_wq, &gdev->vm->work, msecs_to_jiffies(put_ms));
}

static const struct faux_device_ops drm_drain_gpuvm_faux_ops = {
	.probe = drm_drain_gpuvm_probe,
	.remove = drm_drain_gpuvm_remove,
};

static struct faux_device *drm_drain_gpuvm_faux;

static int __init drm_drain_gpuvm_init(void)
{
	drm_drain_gpuvm_faux = faux_device_create("drm_drain_gpuvm", NULL,
						  &drm_drain_gpuvm_faux_ops);

	return drm_drain_gpuvm_faux ? 0 : -ENODEV;
}

static void __exit drm_drain_gpuvm_exit(void)
{
	faux_device_destroy(drm_drain_gpuvm_faux);
#ifdef HAVE_DRM_MODULE_DRAIN
	drm_module_drain(THIS_MODULE);
#endif
}

module_init(drm_drain_gpuvm_init);
module_exit(drm_drain_gpuvm_exit);

MODULE_DESCRIPTION("DRM driver whose GPU VA space outlives the rest");
MODULE_LICENSE("GPL");
