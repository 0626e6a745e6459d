// SPDX-License-Identifier: GPL-2.0
/*
 * A DRM driver whose pagemap outlives everything else of it
 *
 * One device, without hardware, whose memory is that of the system, but is used
 * like that of a device: as device-private pages, with a drm_pagemap. Unloading
 * takes the pages back, and leaves the last reference on the pagemap to a worker,
 * a timer, or a timer in hard interrupts: it destroys the pagemap, with a
 * callback into this module, and it is the last to hold the device.
 */

#include <linux/atomic.h>
#include <linux/device/faux.h>
#include <linux/dma-direct.h>
#include <linux/dma-mapping.h>
#include <linux/highmem.h>
#include <linux/hrtimer.h>
#include <linux/ioport.h>
#include <linux/jiffies.h>
#include <linux/memremap.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/preempt.h>
#include <linux/sched/mm.h>
#include <linux/string.h>
#include <linux/sysfs.h>
#include <linux/timer.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

#include <drm/drm_drv.h>
#include <drm/drm_file.h>
#include <drm/drm_gem.h>
#include <drm/drm_ioctl.h>
#include <drm/drm_managed.h>
#include <drm/drm_module.h>
#include <drm/drm_pagemap.h>
#include <drm/drm_pagemap_util.h>

#define DEVMEM_SIZE	SZ_64K
#define DEVMEM_PAGES	(DEVMEM_SIZE / PAGE_SIZE)

static unsigned int put_ms;
module_param(put_ms, uint, 0444);
MODULE_PARM_DESC(put_ms, "When the last reference on the pagemap is dropped, in ms after the device was removed");

enum { PUT_FROM_WORKER, PUT_FROM_SOFTIRQ, PUT_FROM_HARDIRQ };

static const char * const put_from_names[] = {
	[PUT_FROM_WORKER] = "worker",
	[PUT_FROM_SOFTIRQ] = "softirq",
	[PUT_FROM_HARDIRQ] = "hardirq",
};

static char *put_from = "worker";
module_param(put_from, charp, 0444);
MODULE_PARM_DESC(put_from, "Where to drop it: worker, softirq, or hardirq");

static bool cached;
module_param(cached, bool, 0444);
MODULE_PARM_DESC(cached, "Have the pagemap in a cache, and try that out");

struct drm_drain_pagemap_device {
	struct drm_device drm;
	struct dev_pagemap pagemap;
	struct drm_pagemap dpagemap;
	struct drm_pagemap_devmem devmem;
	atomic_t devmem_busy;
	struct mm_struct *mm;
	void *memory;
};

static DEFINE_MUTEX(pagemap_lock);
static struct drm_drain_pagemap_device *device;	/* protected by pagemap_lock */
static struct drm_pagemap *last_reference;

/* What the device has in its memory at this page */
static void *devmem_addr(struct page *page)
{
	struct drm_drain_pagemap_device *pdev =
		container_of(page_pgmap(page), struct drm_drain_pagemap_device, pagemap);

	return pdev->memory + PFN_PHYS(page_to_pfn(page)) - pdev->pagemap.range.start;
}

static struct page *system_page(struct page *devmem_page, const struct drm_pagemap_addr *addr)
{
	struct drm_drain_pagemap_device *pdev =
		container_of(page_pgmap(devmem_page), struct drm_drain_pagemap_device, pagemap);

	return pfn_to_page(PHYS_PFN(dma_to_phys(pdev->drm.dev, addr->addr)));
}

static int copy_to_devmem(struct page **pages, struct drm_pagemap_addr *addr,
			  unsigned long npages, struct dma_fence *fence)
{
	unsigned long i;

	for (i = 0; i < npages; i++) {
		if (!pages[i])
			continue;
		if (addr[i].addr)
			memcpy_from_page(devmem_addr(pages[i]), system_page(pages[i], &addr[i]),
					 0, PAGE_SIZE);
		else
			memset(devmem_addr(pages[i]), 0, PAGE_SIZE);
	}

	return 0;
}

static int copy_to_ram(struct page **pages, struct drm_pagemap_addr *addr,
		       unsigned long npages, struct dma_fence *fence)
{
	unsigned long i;

	for (i = 0; i < npages; i++) {
		if (pages[i] && addr[i].addr)
			memcpy_to_page(system_page(pages[i], &addr[i]), 0,
				       devmem_addr(pages[i]), PAGE_SIZE);
	}

	return 0;
}

static int populate_devmem_pfn(struct drm_pagemap_devmem *devmem, unsigned long npages,
			       unsigned long *pfn)
{
	unsigned long i;

	for (i = 0; i < npages; i++)
		pfn[i] = PHYS_PFN(devmem->dpagemap->pagemap->range.start) + i;

	return 0;
}

static void devmem_release(struct drm_pagemap_devmem *devmem)
{
	struct drm_drain_pagemap_device *pdev =
		container_of(devmem, struct drm_drain_pagemap_device, devmem);

	pr_info("has its memory back\n");
	atomic_set(&pdev->devmem_busy, 0);
}

static const struct drm_pagemap_devmem_ops devmem_ops = {
	.devmem_release = devmem_release,
	.populate_devmem_pfn = populate_devmem_pfn,
	.copy_to_devmem = copy_to_devmem,
	.copy_to_ram = copy_to_ram,
};

static int populate_mm(struct drm_pagemap *dpagemap, unsigned long start, unsigned long end,
		       struct mm_struct *mm, unsigned long timeslice_ms)
{
	struct drm_drain_pagemap_device *pdev =
		container_of(dpagemap, struct drm_drain_pagemap_device, dpagemap);
	struct drm_pagemap_migrate_details details = {};

	if (end - start > DEVMEM_SIZE)
		return -EINVAL;
	if (pdev->mm || atomic_xchg(&pdev->devmem_busy, 1))
		return -EBUSY;

	mmgrab(mm);
	pdev->mm = mm;
	drm_pagemap_devmem_init(&pdev->devmem, pdev->drm.dev, mm, &devmem_ops, dpagemap,
				end - start, NULL);

	return drm_pagemap_migrate_to_devmem(&pdev->devmem, mm, start, end, &details);
}

/* In whatever context the last reference was dropped */
static void destroy(struct drm_pagemap *dpagemap, bool is_atomic_or_reclaim)
{
	pr_info("destroys the pagemap of %s\n", dpagemap->drm->driver->name);
}

static const struct drm_pagemap_ops pagemap_ops = {
	.populate_mm = populate_mm,
	.destroy = destroy,
};

/* echo ADDRESS > .../populate, once, from a process that has so much memory there */
static int populate_set(const char *val, const struct kernel_param *kp)
{
	unsigned long start;
	int ret;

	ret = kstrtoul(val, 0, &start);
	if (ret)
		return ret;
	if (!PAGE_ALIGNED(start) || !current->mm)
		return -EINVAL;

	guard(mutex)(&pagemap_lock);
	if (!device)
		return -ENODEV;

	return drm_pagemap_populate_mm(&device->dpagemap, start, start + DEVMEM_SIZE,
				       current->mm, 0);
}

static const struct kernel_param_ops populate_ops = {
	.set = populate_set,
};
module_param_cb(populate, &populate_ops, NULL, 0200);
MODULE_PARM_DESC(populate, "Address in the writing process of 64 KiB that are moved to the device");

static void put_work_fn(struct work_struct *work)
{
	drm_pagemap_put(last_reference);
}

static DECLARE_DELAYED_WORK(put_work, put_work_fn);

static void put_timer_fn(struct timer_list *timer)
{
	pr_info("is in a soft interrupt: %d\n", !!in_serving_softirq());
	drm_pagemap_put(last_reference);
}

static DEFINE_TIMER(put_timer, put_timer_fn);

static enum hrtimer_restart put_hrtimer_fn(struct hrtimer *timer)
{
	pr_info("is in a hard interrupt: %d\n", !!in_hardirq());
	drm_pagemap_put(last_reference);

	return HRTIMER_NORESTART;
}

static struct hrtimer put_hrtimer;

static void last_put(struct drm_pagemap *dpagemap)
{
	last_reference = dpagemap;
	switch (sysfs_match_string(put_from_names, put_from)) {
	case PUT_FROM_SOFTIRQ:
		mod_timer(&put_timer, jiffies + msecs_to_jiffies(put_ms));
		break;
	case PUT_FROM_HARDIRQ:
		hrtimer_setup(&put_hrtimer, put_hrtimer_fn, CLOCK_MONOTONIC,
			      HRTIMER_MODE_REL_HARD);
		hrtimer_start(&put_hrtimer, ms_to_ktime(put_ms), HRTIMER_MODE_REL_HARD);
		break;
	default:
		queue_delayed_work(system_dfl_wq, &put_work, msecs_to_jiffies(put_ms));
		break;
	}
}

DEFINE_DRM_GEM_FOPS(drm_drain_pagemap_fops);

static const struct drm_driver drm_drain_pagemap_drm_driver = {
	.driver_features = DRIVER_GEM | DRIVER_RENDER,
	.fops = &drm_drain_pagemap_fops,
	.name = "drm_drain_pagemap",
	.desc = "Driver to test the draining of DRM devices with a pagemap",
	.major = 1,
};

static void drm_drain_pagemap_release(struct drm_device *drm, void *data)
{
	struct drm_drain_pagemap_device *pdev =
		container_of(drm, struct drm_drain_pagemap_device, drm);

	if (pdev->mm)
		mmdrop(pdev->mm);
	vfree(pdev->memory);
}

static int drm_drain_pagemap_init_memory(struct drm_drain_pagemap_device *pdev)
{
	struct device *dev = pdev->drm.dev;
	struct resource *res;
	int ret;

	/* Without a limit, the address for DMA is where the memory is. */
	ret = dma_coerce_mask_and_coherent(dev, DMA_BIT_MASK(64));
	if (ret)
		return ret;

	pdev->memory = vzalloc(DEVMEM_SIZE);
	if (!pdev->memory)
		return -ENOMEM;

	res = devm_request_free_mem_region(dev, &iomem_resource, DEVMEM_SIZE);
	if (IS_ERR(res))
		return PTR_ERR(res);

	pdev->pagemap.type = MEMORY_DEVICE_PRIVATE;
	pdev->pagemap.range.start = res->start;
	pdev->pagemap.range.end = res->end;
	pdev->pagemap.nr_range = 1;
	pdev->pagemap.owner = pdev;
	pdev->pagemap.ops = drm_pagemap_pagemap_ops_get();

	return PTR_ERR_OR_ZERO(devm_memremap_pages(dev, &pdev->pagemap));
}

/* A pagemap in a cache has a reference on the device only while it is used. */
static int drm_drain_pagemap_init_cache(struct drm_drain_pagemap_device *pdev)
{
	struct drm_pagemap_shrinker *shrinker;
	struct drm_pagemap_cache *cache;
	struct drm_pagemap *dpagemap;
	unsigned int refs;
	int ret;

	shrinker = drm_pagemap_shrinker_create_devm(&pdev->drm);
	if (IS_ERR(shrinker))
		return PTR_ERR(shrinker);
	cache = drm_pagemap_cache_create_devm(shrinker);
	if (IS_ERR(cache))
		return PTR_ERR(cache);

	ret = drm_pagemap_cache_lock_lookup(cache);
	if (ret)
		return ret;
	drm_pagemap_cache_set_pagemap(cache, &pdev->dpagemap);
	refs = kref_read(&pdev->drm.ref);
	drm_pagemap_put(&pdev->dpagemap);
	WARN_ON(kref_read(&pdev->drm.ref) != refs - 1);
	dpagemap = drm_pagemap_get_from_cache(cache);
	/* If memory was short, it is not there anymore. */
	if (!dpagemap) {
		drm_pagemap_init(&pdev->dpagemap, &pdev->pagemap, &pdev->drm, &pagemap_ops);
		drm_pagemap_cache_set_pagemap(cache, &pdev->dpagemap);
	}
	WARN_ON(kref_read(&pdev->drm.ref) != refs);
	drm_pagemap_cache_unlock_lookup(cache);
	pr_info("has been in the cache: %d\n", dpagemap == &pdev->dpagemap);

	return 0;
}

static int drm_drain_pagemap_probe(struct faux_device *fdev)
{
	struct drm_drain_pagemap_device *pdev;
	int ret;

	pdev = devm_drm_dev_alloc(&fdev->dev, &drm_drain_pagemap_drm_driver,
				  struct drm_drain_pagemap_device, drm);
	if (IS_ERR(pdev))
		return PTR_ERR(pdev);

	ret = drmm_add_action_or_reset(&pdev->drm, drm_drain_pagemap_release, NULL);
	if (ret)
		return ret;

	ret = drm_drain_pagemap_init_memory(pdev);
	if (ret)
		return ret;

	drm_pagemap_init(&pdev->dpagemap, &pdev->pagemap, &pdev->drm, &pagemap_ops);
	ret = cached ? drm_drain_pagemap_init_cache(pdev) : 0;
	if (!ret)
		ret = drm_dev_register(&pdev->drm, 0);
	if (ret) {
		drm_pagemap_put(&pdev->dpagemap);
		return ret;
	}

	scoped_guard(mutex, &pagemap_lock)
		device = pdev;

	return 0;
}

static void drm_drain_pagemap_remove(struct faux_device *fdev)
{
	struct drm_drain_pagemap_device *pdev;

	scoped_guard(mutex, &pagemap_lock) {
		pdev = device;
		device = NULL;
	}

	drm_dev_unplug(&pdev->drm);
	/* If this fails, the process is about to end, which is waited for after this. */
	if (atomic_read(&pdev->devmem_busy))
		pr_info("takes its memory back: %d\n", drm_pagemap_evict_to_ram(&pdev->devmem));
	last_put(&pdev->dpagemap);
}

static const struct faux_device_ops drm_drain_pagemap_faux_ops = {
	.probe = drm_drain_pagemap_probe,
	.remove = drm_drain_pagemap_remove,
};

static struct faux_device *drm_drain_pagemap_faux;

static int __init drm_drain_pagemap_init(void)
{
	if (sysfs_match_string(put_from_names, put_from) < 0)
		return -EINVAL;

	drm_drain_pagemap_faux = faux_device_create("drm_drain_pagemap", NULL,
						    &drm_drain_pagemap_faux_ops);

	return drm_drain_pagemap_faux ? 0 : -ENODEV;
}

static void __exit drm_drain_pagemap_exit(void)
{
	faux_device_destroy(drm_drain_pagemap_faux);
	drm_module_drain(THIS_MODULE);
}

module_init(drm_drain_pagemap_init);
module_exit(drm_drain_pagemap_exit);

MODULE_DESCRIPTION("DRM driver whose pagemap outlives the rest");
MODULE_LICENSE("GPL");
