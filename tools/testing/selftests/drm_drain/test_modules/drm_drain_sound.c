// SPDX-License-Identifier: GPL-2.0
/*
 * A DRM driver with the sound of an HDMI connector
 *
 * One device, without hardware. Its connector has the usual child, a device for the
 * hdmi-codec driver, which goes when the connector is cleaned up. The sound card on
 * top of that is drm_drain_card's, as it is another driver's in a real machine.
 */

#include <linux/device/faux.h>
#include <linux/module.h>
#include <linux/platform_device.h>

#include <drm/drm_drv.h>
#include <drm/drm_file.h>
#include <drm/drm_gem.h>
#include <drm/drm_ioctl.h>
#include <drm/drm_managed.h>
#include <drm/drm_module.h>

#include <sound/hdmi-codec.h>

static struct faux_device *drm_drain_faux;

static int drm_drain_audio_prepare(struct device *dev, void *data,
				   struct hdmi_codec_daifmt *fmt,
				   struct hdmi_codec_params *params)
{
	return 0;
}

static void drm_drain_audio_shutdown(struct device *dev, void *data)
{
}

static const struct hdmi_codec_ops drm_drain_audio_ops = {
	.prepare = drm_drain_audio_prepare,
	.audio_shutdown = drm_drain_audio_shutdown,
};

static void drm_drain_audio_release(struct drm_device *drm, void *data)
{
	platform_device_unregister(data);
}

static int drm_drain_audio_init(struct drm_device *drm)
{
	const struct hdmi_codec_pdata pdata = {
		.ops = &drm_drain_audio_ops,
		.max_i2s_channels = 2,
		.i2s = 1,
		.no_i2s_capture = 1,
		.data = drm,
	};
	struct platform_device *pdev;

	pdev = platform_device_register_data(drm->dev, HDMI_CODEC_DRV_NAME, PLATFORM_DEVID_NONE,
					     &pdata, sizeof(pdata));
	if (IS_ERR(pdev))
		return PTR_ERR(pdev);

	/* When drm_mode_config_cleanup() would come to the connector */
	return drmm_add_action_or_reset(drm, drm_drain_audio_release, pdev);
}

DEFINE_DRM_GEM_FOPS(drm_drain_fops);

static const struct drm_driver drm_drain_drm_driver = {
	.driver_features = DRIVER_GEM,
	.fops = &drm_drain_fops,
	.name = "drm_drain_sound",
	.desc = "Driver to test the unloading of a driver with sound",
	.major = 1,
};

static int drm_drain_probe(struct faux_device *fdev)
{
	struct drm_device *drm;
	int ret;

	drm = __devm_drm_dev_alloc(&fdev->dev, &drm_drain_drm_driver, sizeof(*drm), 0);
	if (IS_ERR(drm))
		return PTR_ERR(drm);

	ret = drm_drain_audio_init(drm);
	if (ret)
		return ret;

	faux_device_set_drvdata(fdev, drm);

	return drm_dev_register(drm, 0);
}

static void drm_drain_remove(struct faux_device *fdev)
{
	drm_dev_unplug(faux_device_get_drvdata(fdev));
}

static const struct faux_device_ops drm_drain_faux_ops = {
	.probe = drm_drain_probe,
	.remove = drm_drain_remove,
};

static int __init drm_drain_sound_init(void)
{
	drm_drain_faux = faux_device_create("drm_drain_sound", NULL, &drm_drain_faux_ops);

	return drm_drain_faux ? 0 : -ENODEV;
}

static void __exit drm_drain_sound_exit(void)
{
	faux_device_destroy(drm_drain_faux);
#ifdef HAVE_DRM_MODULE_DRAIN
	drm_module_drain(THIS_MODULE);
#endif
}

module_init(drm_drain_sound_init);
module_exit(drm_drain_sound_exit);

MODULE_DESCRIPTION("DRM driver with the sound of an HDMI connector");
MODULE_LICENSE("GPL");
