// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The last gate of a module: its text is freed when nothing will return to it.
 */

#define pr_fmt(fmt) "module: " fmt

#include <linux/cgroup.h>
#include <linux/filter.h>
#include <linux/ftrace.h>
#include <linux/jiffies.h>
#include <linux/kprobes.h>
#include <linux/livepatch.h>
#include <linux/minmax.h>
#include <linux/module.h>
#include <linux/module_drain.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/rcupdate.h>
#include <linux/rcupdate_wait.h>
#include <linux/rethook.h>
#include <linux/sched/debug.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/sched/task_stack.h>
#include <linux/slab.h>
#include <linux/stacktrace.h>
#include <linux/stop_machine.h>

#include "internal.h"

/* When a wait is first reported, in seconds. The time doubles with each report. */
#define GATE_REPORT_SECS	10

/* The longest sleep between two looks, in jiffies */
#define GATE_PAUSE_MAX		max(HZ / 10, 1)

struct module_gate {
	struct module *mod;
	/* What this waits for, for reports */
	const char *what;
	/* When this wait began, and when it is reported next, in seconds after that */
	unsigned long start;
	unsigned int report;
	/* Before the next look, in jiffies */
	long pause;
	/* The task that is looked at, and whether it was seen inside without a doubt */
	struct task_struct *task;
	bool inside;
};

static void gate_begin(struct module_gate *gate, const char *what)
{
	gate->what = what;
	gate->start = jiffies;
	gate->report = GATE_REPORT_SECS;
	gate->pause = 1;
}

static void gate_report(struct module_gate *gate)
{
	unsigned int secs = (jiffies - gate->start) / HZ;

	if (secs < gate->report)
		return;
	gate->report *= 2;

	pr_warn("%s:%d has waited for %u s %s module %s\n", current->comm,
		task_pid_nr(current), secs, gate->what, module_name(gate->mod));
	if (!gate->task)
		return;
	pr_warn("%s:%d %s in its text\n", gate->task->comm, task_pid_nr(gate->task),
		gate->inside ? "is" : "may be");
	sched_show_task(gate->task);
}

/*
 * Sleep before the next look. A fatal signal ends the wait, but not before the
 * pauses are long: what is waited for is rarely further away than that, and then the
 * module need not be left behind.
 */
static int gate_pause(struct module_gate *gate)
{
	if (gate->pause == GATE_PAUSE_MAX && fatal_signal_pending(current))
		return -EINTR;

	gate_report(gate);

	/* The freezer of cgroup v2 must not wait for this task, until module_drain_gate() ends. */
	cgroup_enter_frozen();
	set_current_state(TASK_IDLE | TASK_FREEZABLE);
	schedule_timeout(gate->pause);
	gate->pause = min(2 * gate->pause, GATE_PAUSE_MAX);

	return 0;
}

/*
 * After a failed init, a file may be open whose closing reads the module's
 * file_operations. A try_module_get() that saw the module before it was going may
 * still succeed while the count is above 0, but not from 0. So wait until it can be
 * made 0.
 */
static int gate_wait_refs(struct module_gate *gate)
{
	int ret = 0;

	gate_begin(gate, "for the last reference on");
	/* 1 is what the loader itself holds. After an exit function the count is 0. */
	while (!ret && atomic_cmpxchg(&gate->mod->refcnt, 1, 0) > 1)
		ret = gate_pause(gate);

	return ret;
}

static int gate_wait_objects(struct module_gate *gate)
{
	struct module_drain *drain;
	unsigned int count;
	int ret;

	llist_for_each_entry(drain, gate->mod->drains.first, node) {
		count = module_drain_count(drain);
		if (count)
			pr_notice("module %s leaves %u %s behind, waiting for their release\n",
				  module_name(gate->mod), count, drain->ops->name);

		ret = module_drain_wait_state(drain, TASK_IDLE | TASK_WAKEKILL | TASK_FREEZABLE);
		/* As in gate_pause(): what is about to happen is waited for. */
		if (ret && !wait_for_completion_timeout(&drain->drained, GATE_PAUSE_MAX))
			return ret;
	}

	return 0;
}

#ifdef CONFIG_MODULE_DRAIN_STACKS

/*
 * Why one look at each task is enough:
 *
 * (1) Nothing calls into the module to drop a reference any more. The exit
 *     function has unregistered what could, has ended the module's threads, timers
 *     and work, and no counted object is left. What can still enter the text after
 *     an exit function (parameters in sysfs, output of tracepoints, async functions)
 *     is synchronised by its own dismantling further down in the loader.
 *
 * (2) A task that is seen with no return address into the text on its stack never
 *     gets one again, except in the entries that (1) names: the text would have to
 *     be called, or the stack inherited, and a new task starts with a stack of its
 *     own. So it does not matter when the other tasks are seen.
 *
 * (3) The walk misses no task that is inside. It visits tasks in the order of their
 *     numbers in the initial pid namespace. A task without a number is past
 *     exit_notify(), from where nothing of a module with a drain is called. A task
 *     whose number changes during the walk is inside execve(), hence outside the
 *     module. A task with a new number was created during the walk: (2). The idle
 *     tasks, which have no number, run module code with interrupts off: (4), and in
 *     cpuidle drivers, whose unregistration wakes them and waits for RCU.
 *
 * (4) Interrupts, what else runs with interrupts off, and softirqs may be on no
 *     task's stack. They are RCU read-side critical sections. A grace period follows
 *     the walk.
 *
 * (5) Between its last put and its return, code of the module must not use what the
 *     exit function destroys, nor queue work, timers or threads of the module, nor
 *     jump (as the compiler makes of a last call) to a function elsewhere that will
 *     call back, or use data of the module. This is asked of the module, see
 *     module_drain_put().
 *
 * (6) A task that is inside has a return address into the text on its stack, or in
 *     the lists of tracers: gate_look(). A task that runs is seen when it has left
 *     its processor, with what its registers held on its stack: gate_look_stopped().
 */

static bool gate_text_contains(struct module_gate *gate, unsigned long addr)
{
	/* A return address may be the end of the text. */
	for_each_mod_mem_type(type) {
		const struct module_memory *mem = &gate->mod->mem[type];

		if (mod_mem_type_is_text(type) && mem->size &&
		    addr - (unsigned long)mem->base <= mem->size)
			return true;
	}

	/* A function of a livepatch may have been called as one of the module. */
	return klp_replaces(gate->mod, addr);
}

static bool gate_look_entry(void *data, unsigned long addr)
{
	struct module_gate *gate = data;

	/* Only ORC shows who called a function that has called this program. */
	if (!IS_ENABLED(CONFIG_UNWINDER_ORC) && is_bpf_text_address(addr))
		return false;
	if (!gate_text_contains(gate, addr))
		return true;
	gate->inside = true;

	return false;
}

/* Where the stack begins that a task has left to another one */
static unsigned long *gate_saved_sp(struct task_struct *task)
{
#if defined(CONFIG_X86)
	return (unsigned long *)task->thread.sp;
#elif defined(CONFIG_ARM64)
	return (unsigned long *)thread_saved_sp(task);
#elif defined(CONFIG_LOONGARCH)
	return (unsigned long *)task->thread.reg03;
#else /* powerpc, s390 */
	return (unsigned long *)task->thread.ksp;
#endif
}

static bool gate_word_is_inside(struct module_gate *gate, unsigned long word)
{
#ifdef CONFIG_ARM64
	word = ptrauth_strip_kernel_insn_pac(word);
#endif
#ifdef CONFIG_MITIGATION_ITS
	/* A task may have been preempted in a thunk of the module. */
	for (int i = 0; i < gate->mod->arch.its_pages.num; i++) {
		if (word - (unsigned long)gate->mod->arch.its_pages.pages[i] < PAGE_SIZE)
			return true;
	}
#endif
	/*
	 * An optimised kprobe may have a copy of the module's instructions. With others,
	 * interrupts or preemption are off in the copy, and a fault goes back first.
	 */
	return gate_text_contains(gate, word) || is_kprobe_optinsn_slot(word);
}

/* Return addresses that tracers keep, and have replaced on the stack */
static bool gate_traced_inside(struct module_gate *gate, struct task_struct *task)
{
#ifdef CONFIG_FUNCTION_GRAPH_TRACER
	struct ftrace_ret_stack *ret_stack;

	for (int i = 0; (ret_stack = ftrace_graph_get_ret_stack(task, i)); i++) {
		if (gate_word_is_inside(gate, ret_stack->ret))
			return true;
	}
#endif
#ifdef CONFIG_RETHOOK
	struct rethook_node *node;

	llist_for_each_entry(node, task->rethooks.first, llist) {
		if (gate_word_is_inside(gate, node->ret_addr))
			return true;
	}
#elif defined(CONFIG_KRETPROBES)
	struct kretprobe_instance *ri;

	llist_for_each_entry(ri, task->kretprobe_instances.first, llist) {
		if (gate_word_is_inside(gate, (unsigned long)ri->ret_addr))
			return true;
	}
#endif
	return false;
}

/*
 * Most unwinders do not follow stacks through exceptions, where they cannot tell
 * whether the interrupted function has made its frame yet. None follows
 * kretprobes of a task that could run. Every word is looked at instead: a task
 * that is not running has all of its return addresses on its stack, or in the
 * lists of tracers. The registers that a task leaves in its thread_struct hold
 * none into a module: they are callee-saved, and where an address to return to is
 * among them, it is in the scheduler. A stale word may keep a task inside that has
 * left, for as long as it sleeps there; no word lets one outside that is inside.
 *
 * User space chooses the registers that it enters the kernel with, at the top. It
 * can also choose words further down, which system calls copy (poll(), for one): who
 * does that with addresses of the module is waited for, and reported.
 */
__no_kmsan_checks
static int gate_scan(struct module_gate *gate, struct task_struct *task)
{
	unsigned long *base = task_stack_page(task);
	unsigned long *top = (void *)base + THREAD_SIZE;
	unsigned long *word = gate_saved_sp(task);

	if (!(task->flags & PF_KTHREAD))
		top = (unsigned long *)task_pt_regs(task);
	if (word < base || word > top)
		return -EINVAL;

	for (; word < top; word++) {
		if (gate_word_is_inside(gate, READ_ONCE_NOCHECK(*word)))
			return -EINVAL;
	}

	return 0;
}

/*
 * Called with the task pinned in its state. Return addresses are looked at as
 * they are found, so that no stack is too deep.
 */
static int gate_look(struct task_struct *task, void *data)
{
	struct module_gate *gate = data;
	int ret;

	gate->inside = false;
	/* A dead task does not return. It may have oopsed inside. */
	if (READ_ONCE(task->__state) == TASK_DEAD)
		return 0;
	if (task_curr(task))
		return -EBUSY;

	ret = arch_stack_walk_reliable(gate_look_entry, gate, task);
	if (ret && !gate->inside)
		ret = gate_scan(gate, task);
	/* Frame pointers skip a function whose return is being traced right now. */
	if (!ret && gate_traced_inside(gate, task))
		ret = -EINVAL;

	return ret;
}

/*
 * Called in the stopper thread of the CPU that the task was running on. The
 * stopper has taken the task's place, so the task's registers are on its stack
 * now, be it from user mode or from kernel code that was preempted.
 */
static int gate_look_stopped(void *data)
{
	struct module_gate *gate = data;

	return task_call_func(gate->task, gate_look, gate);
}

/* Wait until the task was seen outside. It may never have been inside. */
static int gate_wait_task(struct module_gate *gate)
{
	struct task_struct *task = gate->task;
	int ret;

	for (;;) {
		/* A task without a stack has returned from its last function. */
		if (!try_get_task_stack(task))
			return 0;

		klp_lock();
		ret = task_call_func(task, gate_look, gate);
		/* Stopping comes last, when the whole walk has taken some looks. */
		if (ret == -EBUSY && time_after(jiffies, gate->start + GATE_PAUSE_MAX))
			ret = stop_one_cpu(task_cpu(task), gate_look_stopped, gate);
		klp_unlock();
		put_task_stack(task);
		if (!ret)
			return 0;

		ret = gate_pause(gate);
		if (ret)
			return ret;
	}
}

static struct task_struct *gate_next_task(int *nr)
{
	struct task_struct *task = NULL;
	struct pid *pid;

	guard(rcu)();

	while (!task) {
		pid = find_ge_pid(*nr, &init_pid_ns);
		if (!pid)
			return NULL;
		*nr = pid_nr(pid) + 1;
		task = get_pid_task(pid, PIDTYPE_PID);
	}

	return task;
}

static int gate_wait_text(struct module_gate *gate)
{
	int nr = 0, ret = 0;

	gate_begin(gate, "to free the text of");

	while (!ret && (gate->task = gate_next_task(&nr))) {
		if (gate->task != current)
			ret = gate_wait_task(gate);
		put_task_struct(gate->task);
		cond_resched();
	}

	return ret;
}

#else /* no reliable stack traces */

/*
 * A task that was preempted in module text has not called schedule() itself, and
 * is still in its Tasks RCU read-side critical section. A task that sleeps there
 * is not. Without PREEMPTION, the normal grace period that follows is enough, as it
 * ends when every CPU has been through the scheduler, idle, or in user mode.
 */
static int gate_wait_text(struct module_gate *gate)
{
	if (IS_ENABLED(CONFIG_TASKS_RCU)) {
		cgroup_enter_frozen();
		wait_rcu_gp_state(TASK_IDLE | TASK_FREEZABLE, call_rcu_tasks);
	}

	return 0;
}

#endif

/* Whether module_drain_gate() has something to do for a module */
bool module_has_gate(const struct module *mod)
{
	return mod->drain_text || !llist_empty(&mod->drains);
}

/* A task that is on its way out of a module may be in a module that this one used. */
void module_drain_pass_on(struct module *mod, struct module *used)
{
	if (module_has_gate(mod))
		used->drain_text = true;
}

/* The drains of a module go when nothing can enter its text any more. */
void module_drain_free(struct module *mod)
{
	struct module_drain *drain, *next;

	llist_for_each_entry_safe(drain, next, llist_del_all(&mod->drains), node)
		kfree(drain);
}

/**
 * module_drain_gate - wait until nothing needs a module's code any more
 * @mod: the module, whose exit function or failed init function has returned
 *
 * Modules that have a drain, and modules that such a module used, are waited for
 * here: first for references on the module that a failed init left, then for
 * objects that the exit function did not wait for, and then until no task has a
 * return address into the module's text on its stack. The task may have slept
 * there meanwhile. Tasks that have called module_drain_put() for the last object
 * are the reason: they have to get out of the module.
 *
 * Without CONFIG_MODULE_DRAIN_STACKS, a Tasks RCU grace period takes the place of
 * the last step. It covers code that neither sleeps nor reschedules voluntarily
 * between its put and its end. With PREEMPT_RT, taking a contended spinlock is
 * sleeping. That step ignores signals, and RCU itself reports it when it is long.
 *
 * The current task is not looked at. It is idle and can be frozen while it waits.
 * A wait that takes 10 seconds is reported, and again when its time has doubled.
 *
 * Context: May sleep. The caller holds no lock: a long wait holds up only tasks
 * that ask for this same module, by request_module() for one, and those that wait
 * for these.
 * Return: 0, or -EINTR if a fatal signal ended the wait. The module must then
 * stay in memory for ever.
 */
int module_drain_gate(struct module *mod)
{
	struct module_gate gate = { .mod = mod };
	int ret;

	if (!module_has_gate(mod))
		return 0;

	mod->drain_text = true;

	ret = gate_wait_refs(&gate);
	if (!ret)
		ret = gate_wait_objects(&gate);
	if (!ret)
		ret = gate_wait_text(&gate);
	/* The task does not sleep for this module from here on. */
	if (cgroup_task_frozen(current))
		cgroup_leave_frozen(true);
	if (ret) {
		pr_warn("%s:%d was killed, module %s stays in memory\n",
			current->comm, task_pid_nr(current), module_name(mod));
		return -EINTR;
	}

	/* Interrupts and softirqs: (4). They may use static SRCU data of the module. */
	synchronize_rcu();
	/* RCU callbacks that the tails in the module have queued */
	rcu_barrier();

	return 0;
}
