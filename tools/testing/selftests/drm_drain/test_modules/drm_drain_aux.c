// SPDX-License-Identifier: GPL-2.0
/*
 * A DRM driver with a DP AUX channel, and with a core dump
 *
 * One device, without hardware. User space reaches the AUX channel by its character
 * device and by its I2C adapter. The channel answers every transfer with zeroes.
 */

#include <linux/devcoredump.h>
#include <linux/device/faux.h>
#include <linux/i2c.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/string.h>

#include <drm/display/drm_dp_helper.h>
#include <drm/drm_drv.h>
#include <drm/drm_file.h>
#include <drm/drm_gem.h>
#include <drm/drm_ioctl.h>
#include <drm/drm_module.h>

static bool dump;
module_param(dump, bool, 0444);
MODULE_PARM_DESC(dump, "Make a core dump of the device when it is there");

struct drm_drain_aux {
	struct drm_device drm;
	struct drm_dp_aux aux;
};

static struct faux_device *drm_drain_faux;

static ssize_t drm_drain_aux_transfer(struct drm_dp_aux *aux, struct drm_dp_aux_msg *msg)
{
	switch (msg->request & ~DP_AUX_I2C_MOT) {
	case DP_AUX_I2C_READ:
	case DP_AUX_NATIVE_READ:
		memset(msg->buffer, 0, msg->size);
		break;
	}
	msg->reply = DP_AUX_NATIVE_REPLY_ACK | DP_AUX_I2C_REPLY_ACK;

	return msg->size;
}

static const char drm_drain_dump[] = "core dump of drm_drain_aux\n";

static ssize_t drm_drain_dump_read(char *buffer, loff_t offset, size_t count, void *data,
				   size_t datalen)
{
	return memory_read_from_buffer(buffer, count, &offset, data, datalen);
}

static void drm_drain_dump_free(void *data)
{
	pr_info("core dump is freed\n");
	kfree(data);
}

static void drm_drain_make_dump(struct device *dev)
{
	char *data = kstrdup(drm_drain_dump, GFP_KERNEL);

	if (data)
		dev_coredumpm(dev, THIS_MODULE, data, strlen(data), GFP_KERNEL,
			      drm_drain_dump_read, drm_drain_dump_free);
}

DEFINE_DRM_GEM_FOPS(drm_drain_fops);

static const struct drm_driver drm_drain_drm_driver = {
	.driver_features = DRIVER_GEM,
	.fops = &drm_drain_fops,
	.name = "drm_drain_aux",
	.desc = "Driver to test the unloading of a driver with a DP AUX channel",
	.major = 1,
};

static int drm_drain_probe(struct faux_device *fdev)
{
	struct drm_drain_aux *aux;
	int ret;

	aux = devm_drm_dev_alloc(&fdev->dev, &drm_drain_drm_driver, struct drm_drain_aux, drm);
	if (IS_ERR(aux))
		return PTR_ERR(aux);

	aux->aux.name = "drm_drain_aux";
	aux->aux.transfer = drm_drain_aux_transfer;
	aux->aux.dev = &fdev->dev;
	aux->aux.drm_dev = &aux->drm;
	ret = drm_dp_aux_register(&aux->aux);
	if (ret)
		return ret;

	ret = drm_dev_register(&aux->drm, 0);
	if (ret) {
		drm_dp_aux_unregister(&aux->aux);
		return ret;
	}

	faux_device_set_drvdata(fdev, aux);
	if (dump)
		drm_drain_make_dump(&fdev->dev);

	return 0;
}

static void drm_drain_remove(struct faux_device *fdev)
{
	struct drm_drain_aux *aux = faux_device_get_drvdata(fdev);

	drm_dev_unplug(&aux->drm);
	drm_dp_aux_unregister(&aux->aux);
}

static const struct faux_device_ops drm_drain_faux_ops = {
	.probe = drm_drain_probe,
	.remove = drm_drain_remove,
};

static int __init drm_drain_aux_init(void)
{
	drm_drain_faux = faux_device_create("drm_drain_aux", NULL, &drm_drain_faux_ops);

	return drm_drain_faux ? 0 : -ENODEV;
}

static void __exit drm_drain_aux_exit(void)
{
	faux_device_destroy(drm_drain_faux);
#ifdef HAVE_DRM_MODULE_DRAIN
	drm_module_drain(THIS_MODULE);
#endif
}

module_init(drm_drain_aux_init);
module_exit(drm_drain_aux_exit);

MODULE_DESCRIPTION("DRM driver with a DP AUX channel and a core dump");
MODULE_LICENSE("GPL");
