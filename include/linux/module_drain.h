/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _LINUX_MODULE_DRAIN_H
#define _LINUX_MODULE_DRAIN_H

#include <linux/completion.h>
#include <linux/refcount.h>
#include <linux/types.h>

struct module;
struct module_drain;
struct task_struct;

/**
 * typedef module_drain_report_t - tell what a drain waits for
 * @drain: the drain
 * @waiter: the task that waits
 * @secs: since when, in seconds
 */
typedef void (*module_drain_report_t)(struct module_drain *drain,
				      struct task_struct *waiter,
				      unsigned int secs);

/**
 * struct module_drain - live objects whose release runs code of one module
 *
 * Set up with module_drain_init(). All members are private.
 */
struct module_drain {
	/* private: one for the module, gone once draining began, and one per object */
	refcount_t count;
	unsigned long flags;
	struct completion drained;
	module_drain_report_t report;
};

void module_drain_init(struct module_drain *drain, module_drain_report_t report);
bool module_drain_closed(struct module_drain *drain);
bool module_drain_get(struct module_drain *drain);
void module_drain_put(struct module_drain *drain);
unsigned int module_drain_count(struct module_drain *drain);
void module_drain_wait(struct module_drain *drain, unsigned int state);

#ifdef CONFIG_MODULE_UNLOAD
void module_drain_sync_text(struct module *mod);
#else
static inline void module_drain_sync_text(struct module *mod)
{ }
#endif

#endif
