// SPDX-License-Identifier: GPL-2.0
/*
 * What radeon has, on a PCI device that QEMU has: a DRM device of devres, and an MSI, which
 * devres frees before that. The interrupt goes in remove, or (late=1) when the DRM device is
 * released, as devres drops the last reference on it.
 */

#include <linux/interrupt.h>
#include <linux/module.h>
#include <linux/pci.h>

#include <drm/drm_drv.h>
#include <drm/drm_file.h>
#include <drm/drm_gem.h>
#include <drm/drm_ioctl.h>

struct msi_device {
	struct drm_device drm;
	bool has_irq;
};

static bool late;
module_param(late, bool, 0444);
MODULE_PARM_DESC(late, "Free the interrupt when the DRM device is released");

static irqreturn_t msi_handler(int irq, void *arg)
{
	return IRQ_NONE;
}

static void msi_free_irq(struct drm_device *drm)
{
	struct msi_device *msi = container_of(drm, struct msi_device, drm);
	struct pci_dev *pdev = to_pci_dev(drm->dev);

	if (!msi->has_irq)
		return;
	free_irq(pdev->irq, msi);
	pci_disable_msi(pdev);
	msi->has_irq = false;
	dev_info(drm->dev, "the interrupt is free\n");
}

DEFINE_DRM_GEM_FOPS(msi_fops);

static const struct drm_driver msi_driver = {
	.driver_features = DRIVER_GEM,
	.release = msi_free_irq,
	.fops = &msi_fops,
	.name = "drm_drain_msi",
	.desc = "an interrupt of devres",
	.major = 1,
};

static int msi_probe(struct pci_dev *pdev, const struct pci_device_id *ent)
{
	struct msi_device *msi;
	int ret;

	msi = devm_drm_dev_alloc(&pdev->dev, &msi_driver, struct msi_device, drm);
	if (IS_ERR(msi))
		return PTR_ERR(msi);

	ret = pci_enable_device(pdev);
	if (ret)
		return ret;
	pci_set_drvdata(pdev, msi);

	ret = pci_enable_msi(pdev);
	if (ret)
		goto err_disable;
	ret = request_irq(pdev->irq, msi_handler, 0, "drm_drain_msi", msi);
	if (ret)
		goto err_msi;
	msi->has_irq = true;

	ret = drm_dev_register(&msi->drm, 0);
	if (ret)
		goto err_irq;

	return 0;

err_irq:
	msi->has_irq = false;
	free_irq(pdev->irq, msi);
err_msi:
	pci_disable_msi(pdev);
err_disable:
	pci_disable_device(pdev);
	return ret;
}

static void msi_remove(struct pci_dev *pdev)
{
	struct msi_device *msi = pci_get_drvdata(pdev);

	drm_dev_unplug(&msi->drm);
	if (!late)
		msi_free_irq(&msi->drm);
	pci_disable_device(pdev);
}

static const struct pci_device_id msi_ids[] = {
	{ PCI_DEVICE(0x1234, 0x11e8) },	/* QEMU's "edu" */
	{ }
};
MODULE_DEVICE_TABLE(pci, msi_ids);

static struct pci_driver msi_pci_driver = {
	.name = "drm_drain_msi",
	.id_table = msi_ids,
	.probe = msi_probe,
	.remove = msi_remove,
};
module_pci_driver(msi_pci_driver);

MODULE_DESCRIPTION("An MSI that devres frees before the DRM device");
MODULE_LICENSE("GPL");
