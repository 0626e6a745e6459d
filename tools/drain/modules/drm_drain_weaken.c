// SPDX-License-Identifier: GPL-2.0
/*
 * Take away the wait for a module's text
 *
 * For the tests of that wait: they must fail with this loaded.
 */

#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/ptrace.h>
#include <linux/rcupdate.h>
#include <linux/string.h>

static char *text_wait = "none";
module_param(text_wait, charp, 0444);
MODULE_PARM_DESC(text_wait, "What to have instead of the wait after the exit function: none or tasks_rcu");

static int weaken_none(struct module *mod)
{
	return 0;
}

static int weaken_tasks_rcu(struct module *mod)
{
	synchronize_rcu_tasks();

	return 0;
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
	if (!strcmp(text_wait, "none"))
		weaken_instead = weaken_none;
	else if (!strcmp(text_wait, "tasks_rcu"))
		weaken_instead = weaken_tasks_rcu;
	else
		return -EINVAL;

	return register_kprobe(&weaken_kprobe);
}

static void __exit weaken_exit(void)
{
	unregister_kprobe(&weaken_kprobe);
}

module_init(weaken_init);
module_exit(weaken_exit);

MODULE_DESCRIPTION("Take away the wait for a module's text");
MODULE_LICENSE("GPL");
