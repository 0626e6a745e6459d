// SPDX-License-Identifier: GPL-2.0
/*
 * Take away the wait for a module's text, or the refusal of new devices
 *
 * For the tests of these: they must fail with this loaded.
 */

#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/module_drain.h>
#include <linux/ptrace.h>
#include <linux/rcupdate.h>
#include <linux/string.h>

static char *text_wait = "none";
module_param(text_wait, charp, 0444);
MODULE_PARM_DESC(text_wait, "What to have instead of the wait after the exit function: none or tasks_rcu");

static bool create;
module_param(create, bool, 0444);
MODULE_PARM_DESC(create, "Leave that wait as it is, and let devices be created until the last one is released");

static int weaken_none(struct module *mod)
{
	return 0;
}

static int weaken_tasks_rcu(struct module *mod)
{
	synchronize_rcu_tasks();

	return 0;
}

static bool weaken_get(struct module_drain *drain)
{
	return refcount_inc_not_zero(&drain->count);
}

static void *weaken_instead;

/* At its very first instruction: as if the other one had been called. */
static int weaken_pre_handler(struct kprobe *kp, struct pt_regs *regs)
{
	instruction_pointer_set(regs, (unsigned long)weaken_instead);

	return 1;
}

/* Being there keeps the probe from being optimized, which could not do the above. */
static void weaken_post_handler(struct kprobe *kp, struct pt_regs *regs, unsigned long flags)
{
}

static struct kprobe weaken_kprobe = {
	.symbol_name = "module_drain_gate",
	.pre_handler = weaken_pre_handler,
	.post_handler = weaken_post_handler,
};

static int weaken_init(void)
{
	if (create) {
		weaken_kprobe.symbol_name = "module_drain_get";
		weaken_instead = weaken_get;
	} else if (!strcmp(text_wait, "none")) {
		weaken_instead = weaken_none;
	} else if (!strcmp(text_wait, "tasks_rcu")) {
		weaken_instead = weaken_tasks_rcu;
	} else {
		return -EINVAL;
	}

	return register_kprobe(&weaken_kprobe);
}

static void __exit weaken_exit(void)
{
	unregister_kprobe(&weaken_kprobe);
}

module_init(weaken_init);
module_exit(weaken_exit);

MODULE_DESCRIPTION("Take away the wait for a module's text, or the refusal of new devices");
MODULE_LICENSE("GPL");
