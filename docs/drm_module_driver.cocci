// SPDX-License-Identifier: GPL-2.0-only
/// Let modules that only register one DRM driver wait for the release of their
/// devices on exit: use drm_module_driver() in place of module_*_driver().
///
/// A file is changed if it has a struct drm_driver, or allocates a device.
/// Panels, bridges, encoders and the other parts of a DRM device have neither.
/// What remains to be done by hand:
///
///  - modules in which the one file registers the driver, another one has the
///    struct drm_driver. In v7.3 that is verisilicon alone;
///  - core modules with drivers for several buses in modules of their own, where
///    struct drm_driver and its fops belong to the former. In v7.3 those are
///    solomon/ssd130x and sitronix/st7571;
///  - drivers with a module_exit() of their own;
///  - the include, in files that do not include <drm/drm_drv.h> themselves;
///  - sorting the include, which is added after <drm/drm_drv.h>, and the empty
///    line that checkpatch wants before drm_module_driver().
///
/// spatch -D patch --sp-file drm_module_driver.cocci --no-includes --in-place \
///	--dir drivers/gpu/drm			(or a file)
///
// Options: --no-includes
// Keywords: drm_module_driver, module_platform_driver, module_spi_driver

virtual patch

@owner depends on patch@
identifier drv;
@@
 struct drm_driver drv = { ... };

@alloc depends on patch@
@@
(
 devm_drm_dev_alloc(...)
|
 drm_dev_alloc(...)
)

@platform depends on owner || alloc@
declarer name module_platform_driver, drm_module_driver;
identifier x;
@@
-module_platform_driver(x);
+drm_module_driver(x, platform_driver_register, platform_driver_unregister);

@spi depends on owner || alloc@
declarer name module_spi_driver, drm_module_driver;
identifier x;
@@
-module_spi_driver(x);
+drm_module_driver(x, spi_register_driver, spi_unregister_driver);

@i2c depends on owner || alloc@
declarer name module_i2c_driver, drm_module_driver;
identifier x;
@@
-module_i2c_driver(x);
+drm_module_driver(x, i2c_add_driver, i2c_del_driver);

@usb depends on owner || alloc@
declarer name module_usb_driver, drm_module_driver;
identifier x;
@@
-module_usb_driver(x);
+drm_module_driver(x, usb_register, usb_deregister);

@amba depends on owner || alloc@
declarer name module_amba_driver, drm_module_driver;
identifier x;
@@
-module_amba_driver(x);
+drm_module_driver(x, amba_driver_register, amba_driver_unregister);

@pci depends on owner || alloc@
declarer name module_pci_driver, drm_module_driver;
identifier x;
@@
-module_pci_driver(x);
+drm_module_driver(x, pci_register_driver, pci_unregister_driver);

@virtio depends on owner || alloc@
declarer name module_virtio_driver, drm_module_driver;
identifier x;
@@
-module_virtio_driver(x);
+drm_module_driver(x, register_virtio_driver, unregister_virtio_driver);

@have@
@@
#include <drm/drm_module.h>

@depends on !have && (platform || spi || i2c || usb || amba || pci || virtio)@
@@
#include <drm/drm_drv.h>
+#include <drm/drm_module.h>
