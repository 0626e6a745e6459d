// SPDX-License-Identifier: GPL-2.0
/*
 * What the steps of a fence's life cost, in nanoseconds of a clock that may count instructions
 */

#include <linux/dma-fence.h>
#include <linux/irqflags.h>
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/module.h>
#include <linux/slab.h>

#define FENCES 1000

static struct dma_fence *fences[FENCES];
static struct dma_fence_cb cbs[FENCES];
static DEFINE_SPINLOCK(external_lock);

static const char *cost_name(struct dma_fence *fence)
{
	return "cost";
}

static const struct dma_fence_ops cost_ops = {
	.get_driver_name = cost_name,
	.get_timeline_name = cost_name,
};

static void cost_called(struct dma_fence *fence, struct dma_fence_cb *cb)
{
}

/*
 * Nothing interrupts a step: it is the same for each fence, but for what an allocator does. This
 * is for kernels without options that object to waits with interrupts disabled.
 */
#define step(name, f, i, what) do {						\
	unsigned long flags;							\
	ktime_t start;								\
	s64 ns;									\
	int i;									\
										\
	local_irq_save(flags);							\
	start = ktime_get();							\
	for (i = 0; i < FENCES; i++) {						\
		struct dma_fence *f = fences[i];				\
										\
		what;								\
	}									\
	ns = ktime_to_ns(ktime_sub(ktime_get(), start));			\
	local_irq_restore(flags);						\
	pr_info("fence-cost: %s %s %lld\n", lock ? "external" : "inline", name,		\
		div_s64(ns, FENCES));						\
} while (0)

static void cost_measure(spinlock_t *lock)
{
	u64 context = dma_fence_context_alloc(1);

	step("init", f, i, dma_fence_init(f, &cost_ops, lock, context, i + 1));
	step("get_put", f, i, dma_fence_put(dma_fence_get(f)));
	step("add_callback", f, i, dma_fence_add_callback(f, &cbs[i], cost_called));
	step("remove_callback", f, i, dma_fence_remove_callback(f, &cbs[i]));
	step("add_callback", f, i, dma_fence_add_callback(f, &cbs[i], cost_called));
	step("signal_with_callback", f, i, dma_fence_signal(f));
	step("init", f, i, dma_fence_init(f, &cost_ops, lock, context, i + 1));
	step("signal", f, i, dma_fence_signal(f));
	step("signal_again", f, i, dma_fence_signal(f));
	step("is_signaled", f, i, dma_fence_is_signaled(f));
	step("get_status", f, i, dma_fence_get_status(f));
	step("wait", f, i, dma_fence_wait_timeout(f, false, 0));
	step("add_callback_late", f, i, dma_fence_add_callback(f, &cbs[i], cost_called));
	step("remove_callback_late", f, i, dma_fence_remove_callback(f, &cbs[i]));
	step("last_put", f, i, dma_fence_put(f));
}

static int __init cost_init(void)
{
	int round, i;

	/* What is done for the first time is not counted: the last round is. */
	for (round = 0; round < 4; round++) {
		for (i = 0; i < FENCES; i++) {
			fences[i] = kmalloc_obj(*fences[i]);
			if (!fences[i]) {
				while (i--)
					kfree(fences[i]);
				return -ENOMEM;
			}
		}
		cost_measure(round % 2 ? &external_lock : NULL);
		rcu_barrier();
	}

	return 0;
}

static void __exit cost_exit(void)
{
	rcu_barrier();
}

module_init(cost_init);
module_exit(cost_exit);

MODULE_DESCRIPTION("Cost of the steps of a fence's life");
MODULE_LICENSE("GPL");
