/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _LINUX_MODULE_DRAIN_H
#define _LINUX_MODULE_DRAIN_H

#include <linux/completion.h>
#include <linux/llist.h>
#include <linux/refcount.h>
#include <linux/types.h>

struct module;
struct module_drain;

/**
 * struct module_drain_ops - a subsystem that counts objects of modules
 */
struct module_drain_ops {
	/** @name: what is counted, in the plural, for messages */
	const char *name;
	/**
	 * @report: print the objects that a long wait waits for. Called in
	 * process context, may sleep.
	 */
	void (*report)(struct module_drain *drain);
};

/**
 * struct module_drain - live objects whose release runs code of one module
 *
 * Set up with module_drain_add(). All members are private.
 */
struct module_drain {
	/* private: in &module.drains */
	struct llist_node node;
	struct module *mod;
	const struct module_drain_ops *ops;
	/* One for the module, gone once draining began, and one per object */
	refcount_t count;
	unsigned long flags;
	struct completion drained;
};

struct module_drain *module_drain_find(struct module *mod, const struct module_drain_ops *ops);
struct module_drain *module_drain_add(struct module_drain *drain, struct module *mod,
				      const struct module_drain_ops *ops);
struct module *module_drain_owner(const void *data);
bool module_drain_get(struct module_drain *drain);
void module_drain_put(struct module_drain *drain);
unsigned int module_drain_count(struct module_drain *drain);
void module_drain_wait(struct module_drain *drain);

/* For the module loader */
int module_drain_wait_state(struct module_drain *drain, unsigned int state);

#endif
