/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The unloading of a driver's module, and then of a module that it used. Two holders have the
 * last references on a device: a worker, which comes back through the text of both modules, and
 * an interrupt, which queues an RCU callback of the driver on its way out. Another subsystem
 * counts an object of the driver; it may have leaked, then rmmod is killed. The driver waits in its
 * exit function, and destroys a cache that the release needs; or it does neither.
 *
 * @ kernel/module/drain.c
 * - (1) Nothing calls into the module to drop a reference any more. The exit
 * - function has unregistered what could, has ended the module's threads, timers
 * - and work, and no counted object is left.
 *
 * @ kernel/module/drain.c
 * - (4) Interrupts, what else runs with interrupts off, and softirqs may be on no
 * - task's stack. They are RCU read-side critical sections. A grace period follows
 * - the walk.
 *
 * @ kernel/module/drain.c
 * - (5) Between its last put and its return, code of the module must not use what the
 * - exit function destroys, nor queue work, timers or threads of the module,
 *
 * @ lib/module_drain.c
 * - and use call_rcu().
 *
 * @ patches/2-core/cover.txt
 * - Guaranteed: when drm_module_drain(THIS_MODULE), called as below, returns,
 * - each DRM device of the module was released: ->release has returned, all
 * - managed actions have run, the memory is free, whoever dropped the last
 * - reference. There will be no new one. Later, when the module's code is
 * - freed, no task can return into it, not even the one that dropped the last
 * - reference.
 *
 * @ patches/2-core/cover.txt
 * - In atomic context (interrupts, hard ones included but no NMI, timers,
 * - under a spinlock), every put that may be the last is a
 * - drm_dev_put_deferred(). If it was the last, a work item of the DRM core
 * - releases the device, and the drain waits for that.
 *
 * @ patches/2-core/cover.txt
 * - A driver that does nothing: the module loader waits for its devices after
 * - the exit function, with no lock held.
 *
 * @ patches/2-core/cover.txt
 * - the module stays in memory, dead.
 *
 * rmmod:
 * @ kernel/module/main.c
 * - mod->exit();
 * - ret = module_drain_gate(mod);
 * - if (ret)
 * - return ret;
 * - blocking_notifier_call_chain(&module_notify_list,
 *
 * @ kernel/module/drain.c
 * - ret = gate_wait_refs(&gate);
 * - if (!ret)
 * - ret = gate_wait_objects(&gate);
 * - if (!ret)
 * - ret = gate_wait_text(&gate);
 *
 * @ kernel/module/drain.c
 * - synchronize_rcu();
 *
 * @ kernel/module/drain.c
 * - rcu_barrier();
 * - return 0;
 *
 * @ kernel/module/main.c
 * - module_drain_pass_on(mod, i);
 * - module_put(i);
 *
 * release():
 * @ drivers/gpu/drm/drm_drv.c
 * - drm_managed_release(dev);
 * - drain = drm_drain_end_release(dev);
 * - drm_dev_refs_fini(dev);
 * - kfree(dev->managed.final_kfree);
 *
 * @ drivers/gpu/drm/drm_drv.c
 * - drm_drain_put(drain);
 *
 * @ drivers/gpu/drm/drm_drv.c
 * - INIT_WORK(&dev->managed.release_work, drm_dev_release_work);
 * - queue_work(system_dfl_wq, &dev->managed.release_work);
 */

bool text_is_there = true;
bool helper_is_there = true;
bool cache_is_there = true;
bool memory_is_there = true;	/* of the device */

byte refs = 2;			/* dev->ref */
byte count = 2;			/* of the DRM devices, with one for the module */
byte others = 2;		/* of what another subsystem counts */
bool closed, others_closed;	/* MODULE_DRAIN_CLOSED */
bool work_queued;
bool worker_inside, worker_in_helper;
byte reader;			/* the interrupt: 0 not begun, 1 runs, 2 has ended */
byte callback;			/* 0 none, 1 queued, 2 has returned */
byte tail_callback;		/* the same, of the worker */

bool drains;			/* the driver calls drm_module_drain() */
bool leaked, killed;
byte helper_refs = 1;
bool helper_drain_text;

inline put()
{
	d_step {
		assert(count > 0);
		count--
	}
}

#define INTERRUPT 1		/* process, which must not sleep */

inline release()
{
	assert(_pid != INTERRUPT);
	assert(memory_is_there);
	/* driver->release and the managed actions */
	assert(text_is_there);
	assert(cache_is_there);
	memory_is_there = false;
	put()
}

active proctype worker()
{
	bool last;

	/* It holds a reference, and so comes into the text only while that is there. */
	if
	:: atomic { worker_inside = true; assert(text_is_there) }
	:: true			/* or it has not been called by the driver */
	fi;
	atomic { worker_in_helper = true; assert(helper_is_there) };
	d_step { refs--; last = refs == 0 };
	if
	:: last ->
		release()
	:: else
	fi;
	/* It may sleep here. */
	assert(helper_is_there);
	worker_in_helper = false;
	if
	:: worker_inside ->
		assert(text_is_there);
		/* call_rcu() */
		tail_callback = 1;
		assert(text_is_there);
		worker_inside = false
	:: else
	fi
}

active proctype interrupt()
{
	bool last;

	atomic { reader = 1; assert(text_is_there) };
	d_step { refs--; last = refs == 0 };
	if
	:: last ->
		work_queued = true
	:: else
	fi;
	assert(text_is_there);
	callback = 1;
	assert(text_is_there);
	reader = 2
}

active proctype release_work()
{
end:	work_queued;
	release()
}

active proctype rcu_callback()
{
	callback == 1 && reader != 1;
	assert(text_is_there);
	callback = 2
}

active proctype tail_rcu_callback()
{
end:	tail_callback == 1;
	assert(text_is_there);
	tail_callback = 2
}

active proctype other()
{
	if
	:: d_step { others--; assert(text_is_there) }
	:: atomic { leaked = true; killed = true }
	fi
}

active proctype rmmod()
{
	bool old, tail_old;

	if
	:: drains = true
	:: drains = false
	fi;

	/* mod->exit() */
	if
	:: drains ->
		closed = true;
		put();
		count == 0;
		assert(!memory_is_there);
		cache_is_there = false
	:: else
	fi;

	/* module_drain_gate() */
	if
	:: closed
	:: !closed ->
		closed = true;
		put()
	fi;
	if
	:: count == 0
	:: killed -> goto stays
	fi;
	others_closed = true;
	d_step { assert(others > 0); others-- };
	if
	:: others == 0
	:: killed -> goto stays
	fi;
	/* the walk, see walk.pml */
	if
	:: !worker_inside
	:: killed -> goto stays
	fi;
	/* synchronize_rcu() */
	old = reader == 1;
	!old || reader != 1;
	/* rcu_barrier() */
	old = callback == 1;
	tail_old = tail_callback == 1;
	!old || callback != 1;
	!tail_old || tail_callback != 1;

	/* GOING, and then free_module() */
	text_is_there = false;
	helper_drain_text = true;
	helper_refs--;

	/* rmmod of the module that it used, by anyone */
	helper_refs == 0;
	if
	:: helper_drain_text -> !worker_in_helper
	:: else		/* never */
	fi;
	helper_is_there = false;
	goto done;
stays:
	/* Nothing is dismantled. */
	assert(text_is_there);
done:
	skip
}
