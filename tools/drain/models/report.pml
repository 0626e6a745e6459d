/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The report of a long wait: a work item on the stack of who waits, which queues itself again and
 * looks into the devices, while these are released and freed, one by its last put and one by a
 * deferred one.
 *
 * @ lib/module_drain.c
 * - drain->ops->report(drain);
 * - queue_delayed_work(system_freezable_wq, &report->work, report->secs * HZ);
 *
 * @ lib/module_drain.c
 * - cancel_delayed_work_sync(&report.work);
 *
 * @ drivers/gpu/drm/drm_module.c
 * - guard(mutex)(&drm_drain_lock);
 * - list_for_each_entry(dev, &drain->devices, managed.link) {
 *
 * @ drivers/gpu/drm/drm_module.c
 * - releaser = drm_drain_releaser(dev);
 * - if (releaser) {
 *
 * @ drivers/gpu/drm/drm_module.c
 * - scoped_guard(mutex, &drm_drain_lock)
 * - drm_drain_set_releaser(dev);
 *
 * @ drivers/gpu/drm/drm_module.c
 * - list_del(&dev->managed.link);
 * - put_task_struct(drm_drain_releaser(dev));
 *
 * @ drivers/gpu/drm/drm_module.c
 * - The last reference is gone. Reports do not look into the device any more.
 *
 * @ drivers/gpu/drm/drm_module.c
 * - if (WARN(drm_drain_is_releaser(drain), "releasing a DRM device cannot wait for itself\n"))
 * - return;
 */

#define DEVICES	2

bool mutex;			/* drm_drain_lock */
bool listed[DEVICES] = true;
bool releaser[DEVICES];
bool valid[DEVICES] = true;	/* what a report reads: dev->dev, its name, the references */
bool memory[DEVICES] = true;
byte count = 3;

bool stack_is_there = true;	/* of who waits */
bool queued, running, cancelled;
byte reports = 2;		/* more would be more of the same */

inline lock()
{
	atomic { !mutex -> mutex = true }
}

active [DEVICES] proctype release()
{
	byte dev = _pid;
	bool warns;

	/* drm_drain_begin_release() */
	lock();
	releaser[dev] = true;
	mutex = false;

	/* The driver's release may call drm_module_drain(), which warns. */
	if
	:: warns = releaser[dev]
	:: warns = true
	fi;
	if
	:: warns
	:: else -> count == 0	/* never */
	fi;

	/* drm_managed_release(): the parent and the name go. */
	valid[dev] = false;

	/* drm_drain_end_release() */
	lock();
	listed[dev] = false;
	mutex = false;
	memory[dev] = false;
	count--
}

inline look(dev)
{
	if
	:: listed[dev] ->
		assert(memory[dev]);
		if
		:: releaser[dev]
		:: else -> assert(valid[dev])
		fi
	:: else
	fi
}

active proctype report()
{
end:	do
	:: atomic { queued -> queued = false; running = true };
		assert(stack_is_there);
		lock();
		look(0);
		look(1);
		mutex = false;
		assert(stack_is_there);
		/* Who cancels the work sees to it that it is not queued any more. */
		d_step {
			if
			:: reports > 0 && !cancelled -> reports--; queued = true
			:: else
			fi
		};
		assert(stack_is_there);
		running = false
	od
}	/* never */

active proctype wait()
{
	count--;
	queued = true;
	count == 0;
	/* cancel_delayed_work_sync() */
	d_step { cancelled = true; queued = false };
	!running;
	stack_is_there = false
}
