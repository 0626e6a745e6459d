// SPDX-License-Identifier: GPL-2.0

#include <drm/drm_drv.h>
#include <drm/drm_kunit_helpers.h>
#include <drm/drm_managed.h>
#include <drm/drm_module.h>

#include <kunit/device.h>
#include <kunit/resource.h>
#include <kunit/test.h>

#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/fs.h>
#include <linux/hrtimer.h>
#include <linux/kref.h>
#include <linux/kthread.h>
#include <linux/llist.h>
#include <linux/module.h>
#include <linux/module_drain.h>
#include <linux/refcount.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

/* How long a drain that must not end is watched, once it waits */
#define STILL_DRAINING_MS	20
/* How long a drain may take to wait, or to end */
#define DEADLINE_MS		20000
/* How long two tasks race, and how often at least */
#define RACE_MS			2000
#define RACE_ROUNDS		100
#define RACE_DEVICES		10

/* A module that has nothing but a name, and a driver which belongs to it */
struct mock_module {
	struct kunit *test;
	struct module module;
	struct drm_driver driver;
	struct device *parent;
	/* What a failed test has not put */
	struct drm_device *devices[3];

	void (*drain)(struct module *module);
	struct task_struct *drainer;
	struct completion drained;
	int released;
	int released_when_drained;
};

/* The end of the module, where nothing is waited for any more */
static void mock_going(struct module *module)
{
	struct module_drain *drain, *next;

	llist_for_each_entry_safe(drain, next, llist_del_all(&module->drains), node)
		kfree(drain);
}

static void mock_set_owner(struct mock_module *mock, struct module *owner)
{
	const struct file_operations fops = {
		.owner = owner,
	};
	void *copy;

	copy = kunit_kmalloc(mock->test, sizeof(fops), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(mock->test, copy);
	mock->driver.fops = memcpy(copy, &fops, sizeof(fops));
}

static void mock_release(struct drm_device *drm)
{
	struct mock_module *mock = container_of(drm->driver, struct mock_module, driver);

	mock->released++;
}

static struct drm_device *mock_device_of(struct mock_module *mock, const struct drm_driver *driver)
{
	struct drm_device *drm;

	drm = __drm_dev_alloc(mock->parent, driver, sizeof(struct drm_device), 0);
	for (int i = 0; !IS_ERR(drm) && i < ARRAY_SIZE(mock->devices); i++) {
		if (!mock->devices[i]) {
			mock->devices[i] = drm;
			break;
		}
	}

	return drm;
}

static struct drm_device *mock_device(struct mock_module *mock)
{
	return mock_device_of(mock, &mock->driver);
}

/* To be called before the last reference goes */
static void mock_forget(struct mock_module *mock, struct drm_device *drm)
{
	for (int i = 0; i < ARRAY_SIZE(mock->devices); i++) {
		if (mock->devices[i] == drm)
			mock->devices[i] = NULL;
	}
}

static void mock_put(struct mock_module *mock, struct drm_device *drm)
{
	mock_forget(mock, drm);
	drm_dev_put(drm);
}

static int drainer_fn(void *data)
{
	struct mock_module *mock = data;

	mock->drain(&mock->module);
	mock->released_when_drained = mock->released;
	complete(&mock->drained);

	return 0;
}

static void start_drain(struct mock_module *mock)
{
	struct task_struct *task;

	task = kthread_create(drainer_fn, mock, "drm_module_test");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(mock->test, task);
	mock->drainer = get_task_struct(task);
	wake_up_process(task);
}

static bool refuses_devices(struct mock_module *mock)
{
	struct drm_device *drm = mock_device(mock);

	if (!IS_ERR(drm)) {
		mock_put(mock, drm);
		mock->released--;
	}

	return PTR_ERR_OR_ZERO(drm) == -ENODEV;
}

/* Has closed the module, and waits since */
static bool drains(struct mock_module *mock)
{
	unsigned long deadline = jiffies + msecs_to_jiffies(DEADLINE_MS);

	while (!refuses_devices(mock)) {
		if (completion_done(&mock->drained) || time_after(jiffies, deadline))
			return false;
		fsleep(1000);
	}
	msleep(STILL_DRAINING_MS);

	return !completion_done(&mock->drained);
}

static bool drained(struct mock_module *mock)
{
	return wait_for_completion_timeout(&mock->drained, msecs_to_jiffies(DEADLINE_MS));
}

static void drm_test_module_drain_without_devices(struct kunit *test)
{
	struct mock_module *mock = test->priv;

	start_drain(mock);

	KUNIT_EXPECT_TRUE(test, drained(mock));
}

/* Devices without an owner are not waited for. */
static void drm_test_module_drain_builtin(struct kunit *test)
{
	struct mock_module *mock = test->priv;
	struct drm_device *drm;

	mock_set_owner(mock, NULL);
	drm = mock_device(mock);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, drm);

	KUNIT_EXPECT_PTR_EQ(test, drm_dev_fops(drm), mock->driver.fops);

	drm_module_drain(NULL);
	KUNIT_EXPECT_FALSE(test, refuses_devices(mock));

	mock_put(mock, drm);
	KUNIT_EXPECT_EQ(test, mock->released, 1);
}

static void drm_test_module_drain_waits_for_last_put(struct kunit *test)
{
	struct mock_module *mock = test->priv;
	struct drm_device *drm;

	drm = mock_device(mock);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, drm);
	drm_dev_get(drm);

	start_drain(mock);
	KUNIT_EXPECT_TRUE(test, drains(mock));

	drm_dev_put(drm);
	KUNIT_EXPECT_TRUE(test, drains(mock));

	mock_put(mock, drm);
	KUNIT_ASSERT_TRUE(test, drained(mock));
	KUNIT_EXPECT_EQ(test, mock->released_when_drained, 1);
}

static void drm_test_module_drain_waits_for_all_devices(struct kunit *test)
{
	struct mock_module *mock = test->priv;
	struct drm_device *drm[2];

	for (int i = 0; i < ARRAY_SIZE(drm); i++) {
		drm[i] = mock_device(mock);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, drm[i]);
	}

	start_drain(mock);
	mock_put(mock, drm[1]);
	KUNIT_EXPECT_TRUE(test, drains(mock));

	mock_put(mock, drm[0]);
	KUNIT_ASSERT_TRUE(test, drained(mock));
	KUNIT_EXPECT_EQ(test, mock->released_when_drained, 2);
}

struct slow_action {
	struct completion started;
	struct completion go_on;
};

static void slow_action_fn(struct drm_device *drm, void *data)
{
	struct slow_action *action = data;

	complete(&action->started);
	wait_for_completion(&action->go_on);
}

struct put_work {
	struct work_struct work;
	struct drm_device *drm;
};

static void put_work_fn(struct work_struct *work)
{
	struct put_work *put = container_of(work, struct put_work, work);

	drm_dev_put(put->drm);
}

static void drm_test_module_drain_waits_for_managed_actions(struct kunit *test)
{
	struct mock_module *mock = test->priv;
	struct slow_action action = {
		.started = COMPLETION_INITIALIZER_ONSTACK(action.started),
		.go_on = COMPLETION_INITIALIZER_ONSTACK(action.go_on),
	};
	struct put_work put;

	put.drm = mock_device(mock);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, put.drm);
	KUNIT_ASSERT_EQ(test, drmm_add_action(put.drm, slow_action_fn, &action), 0);
	INIT_WORK_ONSTACK(&put.work, put_work_fn);

	mock_forget(mock, put.drm);
	queue_work(system_dfl_wq, &put.work);
	wait_for_completion(&action.started);

	/* Nobody holds a reference anymore, but the device is not gone yet. */
	start_drain(mock);
	KUNIT_EXPECT_TRUE(test, drains(mock));

	complete(&action.go_on);
	KUNIT_EXPECT_TRUE(test, drained(mock));

	flush_work(&put.work);
	destroy_work_on_stack(&put.work);
}

static void late_put_work_fn(struct work_struct *work)
{
	msleep(100);
	put_work_fn(work);
}

/* An exit function may destroy what the device itself was allocated from. */
static void drm_test_module_drain_waits_for_memory(struct kunit *test)
{
	struct mock_module *mock = test->priv;
	struct kmem_cache *cache;
	struct drm_device *drm;
	void *container;

	cache = kmem_cache_create("drm_module_test", 64, 0, SLAB_NO_MERGE, NULL);
	KUNIT_ASSERT_NOT_NULL(test, cache);
	drm = mock_device(mock);
	if (!IS_ERR(drm)) {
		container = drm->managed.final_kfree;
		drm->managed.final_kfree = kmem_cache_alloc(cache, GFP_KERNEL | __GFP_NOFAIL);

		mock_forget(mock, drm);
		drm_dev_put_deferred(drm);
		mock->drain(&mock->module);
	}
	/* Warns if the object is still there */
	kunit_warning_suppress(test) {
		kmem_cache_destroy(cache);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 0);
	}
	if (!IS_ERR(drm)) {
		flush_work(&drm->managed.release_work);
		kfree(container);
	}
	KUNIT_EXPECT_EQ(test, mock->released, 1);
}

/* Two tasks that unload a module at once cannot be, two that drain it can. */
static void drm_test_module_drain_twice_at_once(struct kunit *test)
{
	struct mock_module *mock = test->priv;
	struct put_work put;

	put.drm = mock_device(mock);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, put.drm);
	INIT_WORK_ONSTACK(&put.work, late_put_work_fn);

	start_drain(mock);
	KUNIT_EXPECT_TRUE(test, drains(mock));

	mock_forget(mock, put.drm);
	queue_work(system_dfl_wq, &put.work);
	KUNIT_EXPECT_EQ(test, mock->released, 0);
	drm_module_drain(&mock->module);
	KUNIT_EXPECT_EQ(test, mock->released, 1);
	KUNIT_EXPECT_TRUE(test, drained(mock));

	flush_work(&put.work);
	destroy_work_on_stack(&put.work);
}

static void drm_test_module_drain_ignores_other_module(struct kunit *test)
{
	struct mock_module *mock = test->priv;
	struct module *other;
	struct drm_device *drm;

	other = kunit_kzalloc(test, sizeof(*other), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, other);
	mock_set_owner(mock, other);
	drm = mock_device(mock);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, drm);

	start_drain(mock);
	KUNIT_EXPECT_TRUE(test, drained(mock));
	KUNIT_EXPECT_EQ(test, mock->released, 0);

	mock_put(mock, drm);
	mock_going(other);
}

static void drm_test_module_no_device_while_draining(struct kunit *test)
{
	struct mock_module *mock = test->priv;
	struct drm_device *drm;

	drm = mock_device(mock);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, drm);
	start_drain(mock);
	KUNIT_EXPECT_TRUE(test, drains(mock));

	KUNIT_EXPECT_TRUE(test, refuses_devices(mock));

	mock_put(mock, drm);
	KUNIT_EXPECT_TRUE(test, drained(mock));
}

static void drm_test_module_no_device_after_drain(struct kunit *test)
{
	struct mock_module *mock = test->priv;

	drm_module_drain(&mock->module);

	KUNIT_EXPECT_TRUE(test, refuses_devices(mock));
}

/* With an error, drm_dev_init() frees the device without drm_dev_release(). */
static void drm_test_module_failed_init_not_counted(struct kunit *test)
{
	struct mock_module *mock = test->priv;
	struct drm_device *drm;
	unsigned int refs;

	refs = kref_read(&mock->parent->kobj.kref);
	mock->driver.driver_features = DRIVER_COMPUTE_ACCEL | DRIVER_RENDER;
	drm = mock_device(mock);
	KUNIT_ASSERT_EQ(test, PTR_ERR_OR_ZERO(drm), -EINVAL);
	KUNIT_EXPECT_EQ(test, kref_read(&mock->parent->kobj.kref), refs);

	start_drain(mock);
	KUNIT_EXPECT_TRUE(test, drained(mock));
}

/* There is no memory for a name of this length. */
static void drm_test_module_failed_allocation(struct kunit *test)
{
	struct mock_module *mock = test->priv;
	const char *init_name = mock->parent->init_name;
	struct drm_device *drm;
	size_t len = 2 * KMALLOC_MAX_SIZE;
	char *name;

	name = vmalloc(len + 1);
	if (!name)
		kunit_skip(test, "no memory for a name of %zu bytes", len);
	memset(name, 'a', len);
	name[len] = '\0';

	mock->parent->init_name = name;
	kunit_warning_suppress(test)
		drm = mock_device(mock);
	mock->parent->init_name = init_name;
	vfree(name);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(drm), -ENOMEM);

	/* Nothing is counted, so nothing is waited for. */
	start_drain(mock);
	KUNIT_EXPECT_TRUE(test, drained(mock));
}

/* A driver may change the drm_driver of a device. That does not change the module. */
static void drm_test_module_driver_exchanged(struct kunit *test)
{
	struct mock_module *mock = test->priv;
	static const struct file_operations other_fops;
	static const struct drm_driver other_driver = {
		.fops = &other_fops,
	};
	struct drm_device *drm;

	drm = mock_device(mock);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, drm);
	drm->driver = &other_driver;

	start_drain(mock);
	KUNIT_EXPECT_TRUE(test, drains(mock));

	mock_put(mock, drm);
	KUNIT_EXPECT_TRUE(test, drained(mock));
}

static void drm_test_module_no_fops(struct kunit *test)
{
	struct mock_module *mock = test->priv;
	struct drm_device *drm;

	mock->driver.fops = NULL;
	drm = mock_device(mock);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, drm);
	KUNIT_EXPECT_PTR_EQ(test, drm_dev_owner(drm), module_drain_owner(drm_dev_put));

	mock_put(mock, drm);
	KUNIT_EXPECT_EQ(test, mock->released, 1);
}

/* Another module may be loaded to the address of one that is gone. */
static void drm_test_module_address_reused(struct kunit *test)
{
	struct mock_module *mock = test->priv;
	struct drm_device *drm;

	drm_module_drain(&mock->module);
	mock_going(&mock->module);

	drm = mock_device(mock);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, drm);
	mock_put(mock, drm);
}

static void drm_test_module_put_deferred(struct kunit *test)
{
	struct mock_module *mock = test->priv;
	struct drm_device *drm;

	drm = mock_device(mock);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, drm);
	drm_dev_get(drm);
	start_drain(mock);

	drm_dev_put_deferred(drm);
	KUNIT_EXPECT_TRUE(test, drains(mock));

	mock_forget(mock, drm);
	drm_dev_put_deferred(drm);
	KUNIT_ASSERT_TRUE(test, drained(mock));
	KUNIT_EXPECT_EQ(test, mock->released_when_drained, 1);
}

struct timer_put {
	struct hrtimer timer;
	struct drm_device *drm;
	bool in_hardirq;
};

static enum hrtimer_restart timer_put_fn(struct hrtimer *timer)
{
	struct timer_put *put = container_of(timer, struct timer_put, timer);

	put->in_hardirq = in_hardirq();
	drm_dev_put_deferred(put->drm);

	return HRTIMER_NORESTART;
}

static void drm_test_module_put_deferred_from_hardirq(struct kunit *test)
{
	struct mock_module *mock = test->priv;
	struct timer_put *put;

	put = kunit_kzalloc(test, sizeof(*put), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, put);
	put->drm = mock_device(mock);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, put->drm);
	hrtimer_setup(&put->timer, timer_put_fn, CLOCK_MONOTONIC, HRTIMER_MODE_REL_HARD);
	start_drain(mock);
	KUNIT_EXPECT_TRUE(test, drains(mock));

	mock_forget(mock, put->drm);
	hrtimer_start(&put->timer, ms_to_ktime(1), HRTIMER_MODE_REL_HARD);
	KUNIT_EXPECT_TRUE(test, drained(mock));

	hrtimer_cancel(&put->timer);
	KUNIT_EXPECT_TRUE(test, put->in_hardirq);
	KUNIT_EXPECT_EQ(test, mock->released_when_drained, 1);
}

/* This would be the end of the module's devices, while it is not unloaded. */
static void drm_test_module_drain_live_module(struct kunit *test)
{
	struct mock_module *mock = test->priv;

	mock->module.state = MODULE_STATE_LIVE;
	kunit_warning_suppress(test) {
		drm_module_drain(&mock->module);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 1);
	}
	KUNIT_EXPECT_FALSE(test, refuses_devices(mock));
}

/* What pins the module is the driver's owner, whatever becomes of the driver. */
static void drm_test_module_owner(struct kunit *test)
{
	struct mock_module *mock = test->priv;
	struct drm_device *drm;

	drm = mock_device(mock);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, drm);
	KUNIT_EXPECT_PTR_EQ(test, drm_dev_owner(drm), &mock->module);
	mock_set_owner(mock, NULL);
	KUNIT_EXPECT_PTR_EQ(test, drm_dev_owner(drm), &mock->module);
	mock_put(mock, drm);

	mock->driver.fops = NULL;
	drm = mock_device(mock);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, drm);
	KUNIT_EXPECT_PTR_NE(test, drm_dev_owner(drm), &mock->module);
	mock_put(mock, drm);
}

/* The device counts for this test, and there is one copy of file operations at most. */
static void drm_test_module_static_fops(struct kunit *test)
{
	static const struct file_operations ownerless[] = {
		{ .llseek = noop_llseek },
		{ .llseek = default_llseek },
	};
	static struct file_operations owned;
	static struct drm_driver driver = {
		.driver_features = DRIVER_MODESET,
	};
	struct mock_module *mock = test->priv;
	const struct file_operations *copy;
	struct drm_device *drm[2];

	if (!module_drain_owner(&driver))
		kunit_skip(test, "static data belongs to no module");

	owned.owner = &mock->module;
	driver.fops = &owned;
	drm[0] = mock_device_of(mock, &driver);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, drm[0]);
	KUNIT_EXPECT_PTR_EQ(test, drm_dev_fops(drm[0]), &owned);
	KUNIT_EXPECT_PTR_EQ(test, drm_dev_owner(drm[0]), &mock->module);
	mock_put(mock, drm[0]);

	for (int i = 0; i < ARRAY_SIZE(drm); i++) {
		driver.fops = &ownerless[i];
		drm[i] = mock_device_of(mock, &driver);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, drm[i]);
	}

	copy = drm_dev_fops(drm[0]);
	KUNIT_EXPECT_PTR_EQ(test, copy->owner, THIS_MODULE);
	KUNIT_EXPECT_PTR_EQ(test, copy->llseek, ownerless[0].llseek);
	KUNIT_EXPECT_PTR_EQ(test, drm_dev_fops(drm[1]), &ownerless[1]);

	for (int i = 0; i < ARRAY_SIZE(drm); i++)
		mock_put(mock, drm[i]);
}

static void drm_test_module_release_keeps_no_task(struct kunit *test)
{
	struct mock_module *mock = test->priv;
	struct drm_device *drm;
	unsigned int refs;

	drm = mock_device(mock);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, drm);

	refs = refcount_read(&current->usage);
	mock_put(mock, drm);
	KUNIT_EXPECT_EQ(test, refcount_read(&current->usage), refs);
}

/* This would wait for itself. */
static void drain_self_fn(struct drm_device *drm, void *data)
{
	struct mock_module *mock = data;

	kunit_warning_suppress(mock->test) {
		drm_module_drain(&mock->module);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(mock->test, 1);
	}
}

static void drm_test_module_drain_from_release(struct kunit *test)
{
	struct mock_module *mock = test->priv;
	struct drm_device *drm;

	drm = mock_device(mock);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, drm);
	KUNIT_ASSERT_EQ(test, drmm_add_action(drm, drain_self_fn, mock), 0);

	mock_put(mock, drm);
	KUNIT_EXPECT_EQ(test, mock->released, 1);
}

static void drm_test_module_drain_from_deferred_release(struct kunit *test)
{
	struct mock_module *mock = test->priv;
	struct drm_device *drm;

	drm = mock_device(mock);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, drm);
	KUNIT_ASSERT_EQ(test, drmm_add_action(drm, drain_self_fn, mock), 0);

	mock_forget(mock, drm);
	drm_dev_put_deferred(drm);
	start_drain(mock);
	KUNIT_ASSERT_TRUE(test, drained(mock));
	KUNIT_EXPECT_EQ(test, mock->released_when_drained, 1);
}

struct racer {
	/* Its driver is the test's, as far as owners go. */
	struct mock_module mock;
	void (*fn)(struct mock_module *mock);
	/* The last round that has begun, and the last one that is over */
	unsigned int begin;
	unsigned int end;
};

static int racer_fn(void *data)
{
	struct racer *racer = data;

	while (!kthread_should_stop()) {
		/* Sees the module as the last round has left it */
		if (smp_load_acquire(&racer->begin) == racer->end) {
			cpu_relax();
			cond_resched();
			continue;
		}
		racer->fn(&racer->mock);
		/* Is done with the module */
		smp_store_release(&racer->end, racer->end + 1);
	}

	return 0;
}

/* Two tasks do the same at the same moment, to a module that is new in each round. */
static void race(struct kunit *test, struct racer *racer)
{
	unsigned long deadline = jiffies + msecs_to_jiffies(RACE_MS);
	struct mock_module *mock = test->priv;
	struct task_struct *task;
	unsigned int round = 0;

	racer->mock.driver = mock->driver;
	racer->mock.parent = kunit_device_register(test, "drm-module-test-racer");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, racer->mock.parent);
	task = kthread_run(racer_fn, racer, "drm_module_test");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, task);

	while (round < RACE_ROUNDS || time_before(jiffies, deadline)) {
		round++;
		/* The module is new. */
		smp_store_release(&racer->begin, round);

		/* Mostly, come when the other one has just added its drain. */
		while (round % 4 && llist_empty(&mock->module.drains) &&
		       READ_ONCE(racer->end) != round) {
			cpu_relax();
			cond_resched();
		}
		racer->fn(mock);

		/* The other one is done with the module. */
		while (smp_load_acquire(&racer->end) != round) {
			cpu_relax();
			cond_resched();
		}
		mock_going(&mock->module);
	}
	kthread_stop(task);
}

static void race_devices(struct mock_module *mock)
{
	struct drm_device *drm;

	for (int i = 0; i < RACE_DEVICES; i++) {
		drm = mock_device(mock);
		if (!IS_ERR(drm))
			mock_put(mock, drm);
	}
}

static void drm_test_module_first_devices_at_once(struct kunit *test)
{
	struct mock_module *mock = test->priv;
	struct racer *racer;

	racer = kunit_kzalloc(test, sizeof(*racer), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, racer);
	racer->fn = race_devices;

	race(test, racer);
	KUNIT_EXPECT_EQ(test, mock->released, RACE_DEVICES * racer->end);
	KUNIT_EXPECT_EQ(test, racer->mock.released, RACE_DEVICES * racer->end);
}

static void race_drain(struct mock_module *mock)
{
	drm_module_drain(mock->driver.fops->owner);
}

static void drm_test_module_first_drains_at_once(struct kunit *test)
{
	struct racer *racer;

	racer = kunit_kzalloc(test, sizeof(*racer), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, racer);
	racer->fn = race_drain;

	race(test, racer);
}

static int drm_module_test_init(struct kunit *test)
{
	struct mock_module *mock;

	mock = kunit_kzalloc(test, sizeof(*mock), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, mock);

	mock->parent = drm_kunit_helper_alloc_device(test);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, mock->parent);

	mock->test = test;
	strscpy(mock->module.name, "mock");
	mock->module.state = MODULE_STATE_GOING;
	mock_set_owner(mock, &mock->module);
	mock->driver.driver_features = DRIVER_MODESET;
	mock->driver.release = mock_release;
	mock->drain = drm_module_drain;
	init_completion(&mock->drained);
	test->priv = mock;

	return 0;
}

static void drm_module_test_exit(struct kunit *test)
{
	struct mock_module *mock = test->priv;

	if (!mock)
		return;

	/* Let go of all that a failed test left behind before waiting for it. */
	for (int i = 0; i < ARRAY_SIZE(mock->devices); i++)
		drm_dev_put(mock->devices[i]);

	if (mock->drainer) {
		kthread_stop(mock->drainer);
		put_task_struct(mock->drainer);
	}
	mock_going(&mock->module);
}

static struct kunit_case drm_module_tests[] = {
	KUNIT_CASE(drm_test_module_drain_without_devices),
	KUNIT_CASE(drm_test_module_drain_builtin),
	KUNIT_CASE(drm_test_module_drain_waits_for_last_put),
	KUNIT_CASE(drm_test_module_drain_waits_for_all_devices),
	KUNIT_CASE(drm_test_module_drain_waits_for_managed_actions),
	KUNIT_CASE(drm_test_module_drain_waits_for_memory),
	KUNIT_CASE(drm_test_module_drain_twice_at_once),
	KUNIT_CASE(drm_test_module_drain_ignores_other_module),
	KUNIT_CASE(drm_test_module_no_device_while_draining),
	KUNIT_CASE(drm_test_module_no_device_after_drain),
	KUNIT_CASE(drm_test_module_failed_init_not_counted),
	KUNIT_CASE(drm_test_module_failed_allocation),
	KUNIT_CASE(drm_test_module_driver_exchanged),
	KUNIT_CASE(drm_test_module_no_fops),
	KUNIT_CASE(drm_test_module_address_reused),
	KUNIT_CASE(drm_test_module_put_deferred),
	KUNIT_CASE(drm_test_module_put_deferred_from_hardirq),
	KUNIT_CASE(drm_test_module_drain_live_module),
	KUNIT_CASE(drm_test_module_owner),
	KUNIT_CASE(drm_test_module_static_fops),
	KUNIT_CASE(drm_test_module_release_keeps_no_task),
	KUNIT_CASE(drm_test_module_drain_from_release),
	KUNIT_CASE(drm_test_module_drain_from_deferred_release),
	KUNIT_CASE_SLOW(drm_test_module_first_devices_at_once),
	KUNIT_CASE_SLOW(drm_test_module_first_drains_at_once),
	{}
};

static struct kunit_suite drm_module_test_suite = {
	.name = "drm_module",
	.init = drm_module_test_init,
	.exit = drm_module_test_exit,
	.test_cases = drm_module_tests,
};

kunit_test_suite(drm_module_test_suite);

MODULE_DESCRIPTION("Test cases for counting and draining the DRM devices of a module");
MODULE_LICENSE("GPL");
