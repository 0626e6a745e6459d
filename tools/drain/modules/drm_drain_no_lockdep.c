// SPDX-License-Identifier: GPL-2.0
/*
 * Turn lockdep off
 *
 * For the tests that must crash in the text of a module that is gone: with lockdep they
 * crash before, in the classes of that module's locks.
 */

#include <linux/debug_locks.h>
#include <linux/module.h>

/* Without __init, whose text could be what the driver's memory becomes */
static int no_lockdep_init(void)
{
	debug_locks_off();
	return 0;
}
module_init(no_lockdep_init);

MODULE_DESCRIPTION("Turn lockdep off");
MODULE_LICENSE("GPL");
