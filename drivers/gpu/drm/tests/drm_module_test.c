// SPDX-License-Identifier: GPL-2.0

#include <drm/drm_drv.h>
#include <drm/drm_kunit_helpers.h>
#include <drm/drm_managed.h>
#include <drm/drm_module.h>

#include <kunit/resource.h>
#include <kunit/test.h>

#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/workqueue.h>

#include "../drm_internal.h"

/* How long a drain that must not end is watched */
#define STILL_WAITING_MS	50
/* How long a drain that must end may take */
#define DRAINED_MS		10000

/* A module that has nothing but a name, and a driver which belongs to it */
struct mock_module {
	struct module module;
	struct drm_driver driver;
	struct device *parent;

	struct work_struct drain_work;
	struct completion drained;
	int released;
	int released_when_drained;
};

static void mock_set_owner(struct kunit *test, struct mock_module *mock, struct module *owner)
{
	const struct file_operations fops = {
		.owner = owner,
	};
	void *copy;

	copy = kunit_kmalloc(test, sizeof(fops), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, copy);
	mock->driver.fops = memcpy(copy, &fops, sizeof(fops));
}

static void mock_release(struct drm_device *drm)
{
	struct mock_module *mock = container_of(drm->driver, struct mock_module, driver);

	mock->released++;
}

static void mock_drain_work(struct work_struct *work)
{
	struct mock_module *mock = container_of(work, struct mock_module, drain_work);

	drm_module_drain(&mock->module);
	mock->released_when_drained = mock->released;
	complete(&mock->drained);
}

static void start_drain(struct mock_module *mock)
{
	queue_work(system_dfl_wq, &mock->drain_work);
}

static bool still_draining(struct mock_module *mock)
{
	msleep(STILL_WAITING_MS);

	return !completion_done(&mock->drained) && work_busy(&mock->drain_work);
}

static bool drained(struct mock_module *mock)
{
	return wait_for_completion_timeout(&mock->drained, msecs_to_jiffies(DRAINED_MS));
}

static struct drm_device *mock_device(struct mock_module *mock)
{
	return __drm_dev_alloc(mock->parent, &mock->driver, sizeof(struct drm_device), 0);
}

static void drm_test_module_drain_without_devices(struct kunit *test)
{
	struct mock_module *mock = test->priv;

	start_drain(mock);

	KUNIT_EXPECT_TRUE(test, drained(mock));
}

static void drm_test_module_drain_builtin(struct kunit *test)
{
	/* Must return at once, there is nothing to find. */
	drm_module_drain(NULL);
}

static void drm_test_module_drain_waits_for_last_put(struct kunit *test)
{
	struct mock_module *mock = test->priv;
	struct drm_device *drm;

	drm = mock_device(mock);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, drm);
	drm_dev_get(drm);

	start_drain(mock);
	KUNIT_EXPECT_TRUE(test, still_draining(mock));

	drm_dev_put(drm);
	KUNIT_EXPECT_TRUE(test, still_draining(mock));

	drm_dev_put(drm);
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
	drm_dev_put(drm[1]);
	KUNIT_EXPECT_TRUE(test, still_draining(mock));

	drm_dev_put(drm[0]);
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

	queue_work(system_dfl_wq, &put.work);
	wait_for_completion(&action.started);

	/* Nobody holds a reference anymore, but the device is not gone yet. */
	start_drain(mock);
	KUNIT_EXPECT_TRUE(test, still_draining(mock));

	complete(&action.go_on);
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
	mock_set_owner(test, mock, other);
	drm = mock_device(mock);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, drm);

	start_drain(mock);
	KUNIT_EXPECT_TRUE(test, drained(mock));
	KUNIT_EXPECT_EQ(test, mock->released, 0);

	drm_dev_put(drm);
	drm_module_going(other);
}

static void drm_test_module_no_device_while_draining(struct kunit *test)
{
	struct mock_module *mock = test->priv;
	struct drm_device *drm, *late;

	drm = mock_device(mock);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, drm);
	start_drain(mock);
	KUNIT_EXPECT_TRUE(test, still_draining(mock));

	late = mock_device(mock);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(late), -ENODEV);

	drm_dev_put(drm);
	KUNIT_EXPECT_TRUE(test, drained(mock));
}

static void drm_test_module_no_device_after_drain(struct kunit *test)
{
	struct mock_module *mock = test->priv;
	struct drm_device *late;

	drm_module_drain(&mock->module);

	late = mock_device(mock);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(late), -ENODEV);
}

/* An error in drm_dev_init() releases the device without drm_dev_release(). */
static void drm_test_module_failed_init_not_counted(struct kunit *test)
{
	struct mock_module *mock = test->priv;
	struct drm_device *drm;

	mock->driver.driver_features = DRIVER_COMPUTE_ACCEL | DRIVER_RENDER;
	drm = mock_device(mock);
	KUNIT_ASSERT_EQ(test, PTR_ERR_OR_ZERO(drm), -EINVAL);

	start_drain(mock);
	KUNIT_EXPECT_TRUE(test, drained(mock));
}

/* Some drivers exchange the drm_driver of a device, see amdgpu_xcp. */
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
	KUNIT_EXPECT_TRUE(test, still_draining(mock));

	drm_dev_put(drm);
	KUNIT_EXPECT_TRUE(test, drained(mock));
}

static void drm_test_module_no_fops(struct kunit *test)
{
	struct mock_module *mock = test->priv;
	struct drm_device *drm;

	mock->driver.fops = NULL;
	drm = mock_device(mock);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, drm);

	drm_dev_put(drm);
	KUNIT_EXPECT_EQ(test, mock->released, 1);
}

/* Another module may be loaded to the address of one that is gone. */
static void drm_test_module_address_reused(struct kunit *test)
{
	struct mock_module *mock = test->priv;
	struct drm_device *drm;

	drm_module_drain(&mock->module);
	drm_module_going(&mock->module);

	drm = mock_device(mock);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, drm);
	drm_dev_put(drm);
}

static void going_work_fn(struct work_struct *work)
{
	struct mock_module *mock = container_of(work, struct mock_module, drain_work);

	drm_module_going(&mock->module);
	mock->released_when_drained = mock->released;
	complete(&mock->drained);
}

static void drm_test_module_going_drains(struct kunit *test)
{
	struct mock_module *mock = test->priv;
	struct drm_device *drm;

	drm = mock_device(mock);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, drm);

	INIT_WORK(&mock->drain_work, going_work_fn);
	start_drain(mock);
	KUNIT_EXPECT_TRUE(test, still_draining(mock));

	drm_dev_put(drm);
	KUNIT_ASSERT_TRUE(test, drained(mock));
	KUNIT_EXPECT_EQ(test, mock->released_when_drained, 1);
}

static int drm_module_test_init(struct kunit *test)
{
	struct mock_module *mock;

	mock = kunit_kzalloc(test, sizeof(*mock), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, mock);

	mock->parent = drm_kunit_helper_alloc_device(test);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, mock->parent);

	strscpy(mock->module.name, "mock", sizeof(mock->module.name));
	mock_set_owner(test, mock, &mock->module);
	mock->driver.driver_features = DRIVER_MODESET;
	mock->driver.release = mock_release;
	INIT_WORK(&mock->drain_work, mock_drain_work);
	init_completion(&mock->drained);
	test->priv = mock;

	return 0;
}

static void drm_module_test_exit(struct kunit *test)
{
	struct mock_module *mock = test->priv;

	if (!mock)
		return;

	flush_work(&mock->drain_work);
	drm_module_going(&mock->module);
}

static struct kunit_case drm_module_tests[] = {
	KUNIT_CASE(drm_test_module_drain_without_devices),
	KUNIT_CASE(drm_test_module_drain_builtin),
	KUNIT_CASE(drm_test_module_drain_waits_for_last_put),
	KUNIT_CASE(drm_test_module_drain_waits_for_all_devices),
	KUNIT_CASE(drm_test_module_drain_waits_for_managed_actions),
	KUNIT_CASE(drm_test_module_drain_ignores_other_module),
	KUNIT_CASE(drm_test_module_no_device_while_draining),
	KUNIT_CASE(drm_test_module_no_device_after_drain),
	KUNIT_CASE(drm_test_module_failed_init_not_counted),
	KUNIT_CASE(drm_test_module_driver_exchanged),
	KUNIT_CASE(drm_test_module_no_fops),
	KUNIT_CASE(drm_test_module_address_reused),
	KUNIT_CASE(drm_test_module_going_drains),
	{}
};

static struct kunit_suite drm_module_test_suite = {
	.name = "drm_module",
	.init = drm_module_test_init,
	.exit = drm_module_test_exit,
	.test_cases = drm_module_tests,
};

kunit_test_suite(drm_module_test_suite);

MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");
MODULE_DESCRIPTION("Test cases for counting and draining the DRM devices of a module");
MODULE_LICENSE("GPL");
