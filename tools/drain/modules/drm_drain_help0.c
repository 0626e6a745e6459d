// SPDX-License-Identifier: GPL-2.0
/*
 * A helper module of drm_drain_victim0, which drops references for it
 *
 * It has nothing to wait for, and no exit function that would: the module loader sees
 * to it that nobody is in here when this goes.
 */

#include <linux/export.h>
#include <linux/module.h>

#include "drm_drain_tail.h"

void torture_help0_put(struct torture_actor *actor);

static unsigned int id;
module_param(id, uint, 0444);
MODULE_PARM_DESC(id, "The number of the name");

void torture_help0_put(struct torture_actor *actor)
{
	torture_put_and_tail(actor, TORTURE_HELPER(id));
}
EXPORT_SYMBOL_GPL(torture_help0_put);

static int __init help_init(void)
{
	return torture_loads(TORTURE_HELPER(id), THIS_MODULE, NULL, NULL);
}

static void __exit help_exit(void)
{
	torture_exit_begins(TORTURE_HELPER(id));
	torture_exit_ends(TORTURE_HELPER(id));
}

module_init(help_init);
module_exit(help_exit);

MODULE_DESCRIPTION("Helper of a victim of the torture test");
MODULE_LICENSE("GPL");
