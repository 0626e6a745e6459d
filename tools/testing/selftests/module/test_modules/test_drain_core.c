// SPDX-License-Identifier: GPL-2.0
/*
 * Two subsystems that count objects of other modules, as small as they can be
 */

#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/module_drain.h>
#include <linux/notifier.h>
#include <linux/slab.h>
#include <linux/timer.h>
#include <linux/workqueue.h>

#include "test_drain.h"

static unsigned int tail_ms;
module_param(tail_ms, uint, 0644);
MODULE_PARM_DESC(tail_ms, "How long a holder sleeps in this module after it dropped a reference, in ms");

static bool pin;
module_param(pin, bool, 0444);
MODULE_PARM_DESC(pin, "Have a reference on this module that nobody drops");

static void report(struct module_drain *drain)
{
	pr_info("%u objects\n", module_drain_count(drain));
}

static const struct module_drain_ops ops[2] = {
	{ .name = "test objects", .report = report },
	{ .name = "other objects", .report = report },
};

static struct module_drain *find_or_create(struct module *owner, int kind)
{
	struct module_drain *drain = kzalloc_obj(*drain), *used;

	if (!drain)
		return NULL;
	used = module_drain_add(drain, owner, &ops[kind]);
	if (used != drain)
		kfree(drain);

	return used;
}

int test_object_init(struct test_object *object, struct module *owner, int kind)
{
	object->drain = find_or_create(owner, kind);
	if (!object->drain)
		return -ENOMEM;

	return module_drain_get(object->drain) ? 0 : -ENODEV;
}
EXPORT_SYMBOL_GPL(test_object_init);

void test_object_put(struct test_object *object)
{
	struct module_drain *drain = object->drain;

	object->release(object);
	module_drain_put(drain);
}
EXPORT_SYMBOL_GPL(test_object_put);

/* A holder in the kernel that is not the module's */
struct holder {
	struct delayed_work work;
	struct test_object *object;
};

static void put_fn(struct work_struct *work)
{
	struct holder *holder = container_of(to_delayed_work(work), struct holder, work);

	test_object_put(holder->object);
	kfree(holder);
	if (!tail_ms)
		return;
	msleep(tail_ms);
	pr_info("holder returns\n");
}

void test_object_put_later(struct test_object *object, unsigned int ms)
{
	struct holder *holder = kzalloc_obj(*holder, GFP_KERNEL | __GFP_NOFAIL);

	holder->object = object;
	INIT_DELAYED_WORK(&holder->work, put_fn);
	queue_delayed_work(system_dfl_wq, &holder->work, msecs_to_jiffies(ms));
}
EXPORT_SYMBOL_GPL(test_object_put_later);

/* A timer on the last processor that calls into another module */
static void (*timer_calls)(void);

static void timer_fn(struct timer_list *unused)
{
	timer_calls();
}

static DEFINE_TIMER(timer, timer_fn);

void test_call_in_timer(void (*fn)(void), unsigned int ms)
{
	timer_calls = fn;
	timer.expires = jiffies + msecs_to_jiffies(ms);
	add_timer_on(&timer, cpumask_last(cpu_online_mask));
}
EXPORT_SYMBOL_GPL(test_call_in_timer);

/* A kprobe in another module */
static struct kprobe kprobe;

int test_probe(void *addr)
{
	/* The one before is gone with its module, but not forgotten. */
	if (kprobe.addr)
		unregister_kprobe(&kprobe);
	kprobe = (struct kprobe){ .addr = addr };

	return register_kprobe(&kprobe);
}
EXPORT_SYMBOL_GPL(test_probe);

void test_objects_wait(struct module *owner, int kind)
{
	struct module_drain *drain = find_or_create(owner, kind);

	if (drain)
		module_drain_wait(drain);
}
EXPORT_SYMBOL_GPL(test_objects_wait);

static int module_event(struct notifier_block *nb, unsigned long state, void *data)
{
	struct module *mod = data;

	if (state == MODULE_STATE_GOING)
		pr_info("%s is dismantled\n", mod->name);

	return NOTIFY_OK;
}

static struct notifier_block module_events = {
	.notifier_call = module_event,
};

static int __init test_drain_core_init(void)
{
	if (pin)
		__module_get(THIS_MODULE);

	return register_module_notifier(&module_events);
}

static void __exit test_drain_core_exit(void)
{
	unregister_module_notifier(&module_events);
	if (kprobe.addr)
		unregister_kprobe(&kprobe);
}

module_init(test_drain_core_init);
module_exit(test_drain_core_exit);

MODULE_DESCRIPTION("Subsystems to test the last gate of modules");
MODULE_LICENSE("GPL");
