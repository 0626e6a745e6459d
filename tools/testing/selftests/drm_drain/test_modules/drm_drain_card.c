// SPDX-License-Identifier: GPL-2.0
/*
 * A sound card that plays to the HDMI connector of drm_drain_sound
 */

#include <linux/device/faux.h>
#include <linux/module.h>

#include <sound/hdmi-codec.h>
#include <sound/soc.h>

SND_SOC_DAILINK_DEFS(hdmi,
		     DAILINK_COMP_ARRAY(COMP_DUMMY()),
		     DAILINK_COMP_ARRAY(COMP_CODEC(HDMI_CODEC_DRV_NAME, "i2s-hifi")),
		     DAILINK_COMP_ARRAY(COMP_DUMMY()));

static struct snd_soc_dai_link drm_drain_link = {
	.name = "HDMI",
	.stream_name = "HDMI",
	.playback_only = 1,
	.dai_fmt = SND_SOC_DAIFMT_I2S | SND_SOC_DAIFMT_NB_NF | SND_SOC_DAIFMT_CBC_CFC,
	SND_SOC_DAILINK_REG(hdmi),
};

static struct snd_soc_card drm_drain_card = {
	.name = "drm_drain",
	.owner = THIS_MODULE,
	.dai_link = &drm_drain_link,
	.num_links = 1,
};

static int drm_drain_probe(struct faux_device *fdev)
{
	drm_drain_card.dev = &fdev->dev;

	return devm_snd_soc_register_card(&fdev->dev, &drm_drain_card);
}

static const struct faux_device_ops drm_drain_faux_ops = {
	.probe = drm_drain_probe,
};

static struct faux_device *drm_drain_faux;

static int __init drm_drain_card_init(void)
{
	drm_drain_faux = faux_device_create("drm_drain_card", NULL, &drm_drain_faux_ops);

	return drm_drain_faux ? 0 : -ENODEV;
}

static void __exit drm_drain_card_exit(void)
{
	faux_device_destroy(drm_drain_faux);
}

module_init(drm_drain_card_init);
module_exit(drm_drain_card_exit);

MODULE_DESCRIPTION("Sound card of an HDMI connector");
MODULE_LICENSE("GPL");
