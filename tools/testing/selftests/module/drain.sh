#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The last gate of a module: what module_drain_gate() waits for after the module's exit
# function, and what goes on meanwhile. MODULE_DRAIN_TESTS: only these tests.

cd "$(dirname "$0")" || exit
# shellcheck source=/dev/null
for helpers in ../kselftest/ktap_helpers.sh kselftest/ktap_helpers.sh; do
	[ ! -f $helpers ] || . $helpers
done

USER=test_drain_user
RMMOD=rmmod
tracing=/sys/kernel/tracing
last=$(sed 's/.*[-,]//' /sys/devices/system/cpu/online)

fail() { echo "# FAIL: $*"; exit "$KSFT_FAIL"; }
skip() { echo "$*" >"$reason"; exit "$KSFT_SKIP"; }
loaded() { [ -e "/sys/module/$1/initstate" ]; }
in_state() { read -r state <"/sys/module/$1/initstate" && [ "$state" = "$2" ]; } 2>/dev/null
unloading() { in_state "$1" going; }
messages() { dmesg | awk -v mark="$mark" 'on { print } index($0, mark) { on = 1 }'; }
logged() { messages | grep -q -e "$@"; }
insert() { insmod "test_modules/$USER.ko" "$@"; }

# begins PID [MODULE]: rmmod, process PID, has come to its wait, or to its end
begins() {
	until unloading "${2-$USER}" || [ ! -d "/proc/$1" ]; do
		sleep 0.05
	done
}

# Without, nobody may sleep in the text after the last put.
reliable_stacks() { [ "$stacks" ] || skip "no reliable stack traces"; }

now_ms() {
	read -r up _ </proc/uptime
	echo $((${up%.*} * 1000 + (1${up#*.} - 100) * 10))
}

# takes MS: rmmod returns after that, and not much later
takes() {
	start=$(now_ms)
	$RMMOD $USER || fail "rmmod failed"
	took=$(($(now_ms) - start))
	loaded $USER && fail "the module is still there"
	[ $took -ge $(($1 - 10)) ] || fail "rmmod returned after $took ms"
	[ $took -lt $(($1 + 60000)) ] || fail "rmmod took $took ms"
}

nothing_held() {
	insert && takes 0
}

waits_in_exit() {
	insert wait=1 hold_ms=500 && takes 500
	messages | grep -A 9 'object 0 is released' | grep -q 'exit returns' ||
		fail "the exit function has not waited"
	logged 'behind, waiting' && fail "the loader has waited for objects"
	return 0
}

waits_after_exit() {
	insert hold_ms=500 && takes 500
	logged "module $USER leaves 1 test objects behind" || fail "no hint in the log"
}

objects_of_two_subsystems() {
	insert both_ms=1000 wait=1 hold_ms=500 && takes 1000
	logged "module $USER leaves 1 other objects behind" || fail "no hint in the log"
}

# after FIRST SECOND: in the log
after() { messages | awk -v first="$1" 'index($0, first) { on = 1 } on' | grep -q "$2"; }

worker_asleep_in_the_text() {
	reliable_stacks
	insert wait=1 tail_ms=3000 && takes 3000
	after 'exit returns' 'worker returns' ||
		fail "the worker has not returned, or not after the exit function"
}

# Who is rmmod's neighbour there is not who may be in the text.
rmmod_in_a_namespace() {
	[ -e /proc/self/ns/pid ] || skip "no CONFIG_PID_NS"
	RMMOD="unshare -pf rmmod"
	worker_asleep_in_the_text
}

thread_asleep_in_the_text() {
	reliable_stacks
	insert wait=1 thread=1 tail_ms=1500 && takes 3000
	after 'exit returns' '] thread returns' ||
		fail "the thread has not returned, or not after the exit function"
	logged 'second thread returns' || fail "the second thread has not returned"
}

# It runs on the last processor, and rmmod does not. Only its instruction pointer tells where it is.
worker_running_in_the_text() {
	[ "$last" -gt 0 ] || skip "one processor"
	RMMOD="taskset 1 rmmod"
	# It may have been preempted, by which it leaves its instruction pointer on its stack.
	for _ in 1 2 3; do
		insert wait=1 busy=1 tail_ms=500 && takes 500
	done
	[ "$(messages | grep -c 'worker returns')" -eq 3 ] || fail "the worker has not returned"
}

# compute: another process has the last processor
compute() {
	[ "$last" -lt 63 ] || skip "more than 63 processors"
	taskset "$(printf %x $((1 << last)))" sh -c 'while :; do :; done' &
	other=$!
	trap 'kill $other; wait' EXIT
}

# It neither runs nor sleeps most of the time.
thread_preempted_in_the_text() {
	uname -v | grep -q PREEMPT || skip "no preemption"
	compute
	insert wait=1 thread=1 busy=1 tail_ms=1000 && takes 1000
	kill -0 $other || fail "nothing else has computed"
	ran=$(messages | sed -n 's/.*thread returns, ran for \([0-9]*\) ms.*/\1/p')
	[ "$ran" ] || fail "the thread has not returned"
	[ "$ran" -lt 500 ] || fail "the thread had the processor for $ran ms"
}

# It is in a copy of its instructions that a kprobe runs in place of a breakpoint.
worker_preempted_in_a_kprobe() {
	[ "$(uname -m)" = x86_64 ] || skip "not x86_64"
	[ -d /sys/kernel/debug/kprobes ] || skip "no CONFIG_KPROBES"
	compute
	insert wait=1 busy=1 probed=1 tail_ms=3000
	list=/sys/kernel/debug/kprobes/list
	for _ in $(seq 100); do
		! grep -q 'test_drain_probed.*OPTIMIZED' $list || break
		sleep 0.1
	done
	grep -q 'test_drain_probed.*OPTIMIZED' $list || fail "the kprobe is not optimised"
	takes 3000
	logged 'worker returns' || fail "the worker has not returned"
}

# A soft interrupt may be on no task's stack. This one is on another processor, which is idle.
timer_in_the_text() {
	[ "$last" -gt 0 ] || skip "one processor"
	insert wait=1 hold_ms=1000 timer_ms=500 callback_ms=500
	taskset 1 rmmod $USER || fail "rmmod failed"
	after 'timer returns' 'callbacks return' || fail "the timer has not returned"
	after 'callbacks return' "$USER is dismantled" ||
		fail "its callbacks have not returned before the module is dismantled"
}

# Where something else is to run, not all are called at a time. That is where rmmod is not.
callbacks_of_a_worker() {
	reliable_stacks
	compute
	RMMOD="taskset 1 rmmod"
	insert wait=1 tail_ms=1 callback_ms=2000 && takes 2000
	logged 'callbacks return' || fail "the callbacks have not returned"
}

# Tasks are born, and die, while the stacks are looked at.
worker_among_forks() {
	reliable_stacks
	others=
	for _ in 1 2 3 4; do
		while :; do sh -c 'true & exec true'; done &
		others="$others $!"
	done
	# shellcheck disable=SC2064
	trap "kill $others; wait" EXIT
	insert wait=1 tail_ms=1000 && takes 1000
	logged 'worker returns' || fail "the worker has not returned"
}

tasks() { awk '$1 == "task_struct" { print $2 }' /proc/slabinfo; }

# What was looked at can go.
sleepers_are_let_go() {
	[ -e /proc/slabinfo ] || skip "no /proc/slabinfo"
	others=
	trap 'kill $others 2>/dev/null' EXIT
	for _ in $(seq 100); do
		sleep 1000 &
		others="$others $!"
	done
	# And a dead one, which nobody waits for
	sh -c 'true & exec sleep 1000' &
	others="$others $!"
	sleep 0.2
	before=$(tasks)
	insert && takes 0
	# shellcheck disable=SC2086
	kill $others
	others=
	wait
	for _ in $(seq 100); do
		[ "$(tasks)" -gt $((before - 50)) ] || return 0
		sleep 0.1
	done
	fail "there were $before tasks, and are $(tasks) without 100 of them"
}

# Tasks are moved from a processor that goes, while they are looked at.
worker_among_processors() {
	reliable_stacks
	online=/sys/devices/system/cpu/cpu1/online
	[ -w $online ] || skip "processors cannot go"
	echo 0 >$online || fail "the processor does not go"
	echo 1 >$online || fail "the processor does not come back"
	while :; do
		echo 0 >$online
		echo 1 >$online
	done &
	other=$!
	trap 'kill $other; wait; echo 1 >$online' EXIT
	insert wait=1 tail_ms=1000 && takes 1000
	logged 'worker returns' || fail "the worker has not returned"
}

# A task that sleeps stays where it was when its processor goes.
sleeper_of_a_processor_that_went() {
	reliable_stacks
	online=/sys/devices/system/cpu/cpu$last/online
	[ "$last" -gt 0 ] || skip "one processor"
	[ "$last" -lt 63 ] || skip "more than 63 processors"
	[ -w "$online" ] || skip "processors cannot go"
	# So that there are workers with lower numbers
	insert wait=1 tail_ms=100 && takes 100
	taskset "$(printf %x $((1 << last)))" sleep 1000 &
	other=$!
	trap 'kill $other; wait; echo 1 >"$online"' EXIT
	sleep 0.2
	echo 0 >"$online" || fail "the processor does not go"
	# shellcheck disable=SC2034
	last=0
	insert wait=1 tail_ms=500 && takes 500
}

# trace: there can be events for functions, and nobody else has any
trace() {
	[ -e $tracing/trace ] || mount -t tracefs none $tracing 2>/dev/null
	[ -e $tracing/kprobe_events ] && [ -z "$(cat $tracing/kprobe_events)" ]
}

# probe EVENT...: until the test ends, in an instance of its own
probe() {
	instance=$tracing/instances/test_drain
	mkdir $instance || fail "no instance of tracing"
	trap 'echo 0 >$instance/events/kprobes/enable; echo >$tracing/kprobe_events; rmdir $instance
		[ -z "${other-}" ] || { kill $other; wait; }' EXIT
	for event; do
		echo "$event" >>$tracing/kprobe_events || fail "no event $event"
	done
	echo 1 >$instance/events/kprobes/enable || fail "no events"
}

# One that computes is first given the time to stop by itself.
processors_are_stopped_last() {
	reliable_stacks
	[ "$last" -gt 0 ] || skip "one processor"
	trace || skip "no events for functions, or somebody has some"
	compute
	probe "p:test_drain_gate module_drain_gate" "p:test_drain_stop stop_one_cpu"
	# What preempts it for a moment, when it is looked at, lets it be read.
	for _ in $(seq 10); do
		insert
		taskset 1 rmmod $USER || fail "rmmod failed"
		times=$(awk '$1 !~ /^rmmod-/ { next }
			/test_drain_gate/ { gate = $0 }
			/test_drain_stop/ && gate { print gate; print; exit }' $instance/trace |
			sed 's/.* \([0-9]*\.[0-9]*\): .*/\1/')
		[ -z "$times" ] || break
	done
	echo "$times" |
		awk '{ time[NR] = $1 } END { exit !(NR == 2 && time[2] - time[1] > 0.09) }' ||
		fail "no processor is stopped, or too early"
}

# It has left the module, and is in one that this used.
holder_asleep_in_the_core() {
	reliable_stacks
	echo 3000 >/sys/module/test_drain_core/parameters/tail_ms
	insert wait=1 hold_ms=100 && takes 100
	rmmod test_drain_core || fail "the core cannot be unloaded"
	returned=y
	logged 'holder returns' || returned=
	insmod test_modules/test_drain_core.ko || fail "the core does not load again"
	[ "$returned" ] || fail "the holder has not returned"
}

# in_group PARAMETER...: rmmod in a control group
in_group() {
	grep -qw cgroup2 /proc/filesystems || skip "no control groups"
	group=$(mktemp -d)
	mount -t cgroup2 none "$group" || fail "no control groups"
	trap 'echo 0 >"$group/drain/cgroup.freeze"; kill -9 $pid; wait $pid
		rmdir "$group/drain"; umount "$group"; rmdir "$group"' EXIT
	pid=
	mkdir "$group/drain" || fail "no control group"
	insert "$@"
	(
		echo 0 >"$group/drain/cgroup.procs"
		exec rmmod $USER
	) &
	pid=$!
	begins $pid
}

freezes() {
	echo 1 >"$group/drain/cgroup.freeze"
	for _ in $(seq "$1"); do
		! grep -q 'frozen 1' "$group/drain/cgroup.events" || break
		sleep 0.05
	done
	grep -q 'frozen 1' "$group/drain/cgroup.events" || fail "the control group does not freeze"
}

# frozen PARAMETER...: the control group of rmmod is frozen while that waits
frozen() {
	in_group "$@"
	sleep 0.2
	freezes 20
	unloading $USER || fail "the module did not wait for so long"
	echo 0 >"$group/drain/cgroup.freeze"
	wait $pid || fail "rmmod failed"
	! loaded $USER || fail "the module is still there"
}

frozen_in_exit() { frozen wait=1 hold_ms=4000; }
frozen_after_exit() { frozen hold_ms=4000; }
frozen_at_the_text() {
	reliable_stacks
	frozen wait=1 tail_ms=4000
}

# The group freezes only when it has as many frozen tasks as tasks.
nobody_counts_as_frozen() {
	reliable_stacks
	in_group wait=1 tail_ms=500
	wait $pid || fail "rmmod failed"
	sleep 100 &
	pid=$!
	echo $pid >"$group/drain/cgroup.procs"
	freezes 100
}

# Whoever loads it again meanwhile is told so when the init function has failed.
failed_init() {
	again=$(mktemp -d)
	trap 'rm -r "$again"' EXIT
	cp "test_modules/$USER.ko" "$again"
	start=$(now_ms)
	insert init_fails_ms=2000 hold_ms=3000 2>/dev/null &
	pid=$!
	until in_state $USER coming || [ ! -d /proc/$pid ]; do
		sleep 0.05
	done
	sleep 0.5
	insmod "$again/$USER.ko" 2>/dev/null && fail "the module could be loaded twice"
	unloading $USER || fail "loading it again has failed too late"
	refs=$(cat /sys/module/$USER/refcnt)
	[ "$refs" -eq -1 ] || fail "the module has $refs references"
	wait $pid && fail "the module has loaded"
	took=$(($(now_ms) - start))
	loaded $USER && fail "the module is still there"
	[ $took -ge 4990 ] || fail "insmod returned after $took ms"
	logged 'object 0 is released' || fail "the object was not released"
}

# When a fatal signal comes, what is about to happen is waited for all the same.
killed() {
	insert "$@"
	rmmod $USER &
	pid=$!
	begins $pid
	sleep 0.2
	kill -9 $pid || fail "rmmod has not waited"
	wait $pid
	! loaded $USER || fail "the module is still there"
}

killed_before_a_short_tail() {
	reliable_stacks
	killed wait=1 hold_ms=1000 tail_ms=50
}

killed_before_another_object_is_released() { killed wait=1 hold_ms=1000 both_ms=1050; }

# dies PID MODULE: the process does at once, and the module stays where it is
dies() {
	start=$(now_ms)
	kill -9 "$1" || fail "it has not waited"
	wait "$1"
	took=$(($(now_ms) - start))
	[ $took -lt 3000 ] || fail "it took $took ms to die"
	logged "was killed, module $2 stays in memory" || fail "no word of that"
	unloading "$2" || fail "the module is gone"
}

# The module is dead then, so these are some that nothing else needs.
killed_at_the_text() {
	reliable_stacks
	loaded test_drain_left && skip "test_drain_left was left behind before"
	insmod test_modules/test_drain_left.ko wait=1 tail_ms=5000
	rmmod test_drain_left &
	pid=$!
	begins $pid test_drain_left
	sleep 0.5
	dies $pid test_drain_left
	for _ in $(seq 100); do
		! logged 'worker returns' || return 0
		sleep 0.1
	done
	fail "the worker has not returned"
}

killed_after_failed_init() {
	loaded test_drain_failed && skip "test_drain_failed was left behind before"
	insmod test_modules/test_drain_failed.ko init_fails_ms=0 pin=1 2>/dev/null &
	pid=$!
	begins $pid test_drain_failed
	sleep 10.5
	idle=
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		! grep -q '^State:.*I (idle)' /proc/$pid/status || idle=y
		sleep 0.05
	done
	[ "$idle" ] || fail "it is never idle"
	[ "$(messages | grep -c 'has waited for')" -eq 1 ] || fail "there is not one report"
	logged 'has waited for 10 s for the last reference on module test_drain_failed' ||
		fail "it is not reported what it waits for"
	dies $pid test_drain_failed
}

# Two modules are unloaded at a time, and each waits for its own objects only.
another_is_stalled() {
	reliable_stacks
	loaded test_drain_left && skip "test_drain_left was left behind before"
	trap '! loaded test_drain_left || rmmod test_drain_left' EXIT
	insert hold_ms=10000
	insmod test_modules/test_drain_left.ko wait=1 hold_ms=500 tail_ms=500
	rmmod $USER &
	pid=$!
	begins $pid
	rmmod test_drain_left || fail "rmmod failed"
	loaded test_drain_left && fail "the other module is still there"
	logged 'worker returns' || fail "the other module's worker has not returned"
	unloading $USER || fail "the module did not wait for so long"
	wait $pid || fail "rmmod failed"
	! loaded $USER || fail "the module is still there"
}

# Other modules come and go while one is stalled, and with it those that use it.
others_go_on() {
	insert hold_ms=5000
	rmmod $USER &
	pid=$!
	begins $pid
	rmmod test_drain_core 2>/dev/null && fail "the subsystem could be unloaded"
	insert 2>/dev/null && fail "the module could be loaded twice"
	rmmod $USER 2>/dev/null && fail "the module could be unloaded twice"
	if ! loaded kunit && modprobe kunit 2>/dev/null && loaded kunit; then
		rmmod kunit || fail "kunit cannot be unloaded"
	fi
	unloading $USER || fail "the module did not wait for so long"
	wait $pid || fail "rmmod failed"
	loaded $USER && fail "the module is still there"
	return 0
}

# As ever, for a module that is in use and has nothing to wait for. Lockdep is off after this.
forced_without_a_drain() {
	zcat /proc/config.gz 2>/dev/null | grep -q 'CONFIG_MODULE_FORCE_UNLOAD is not set' &&
		skip "no CONFIG_MODULE_FORCE_UNLOAD"
	rmmod test_drain_core || fail "the core cannot be unloaded"
	insmod test_modules/test_drain_core.ko pin=1
	rmmod test_drain_core 2>/dev/null && fail "the core could be unloaded"
	rmmod -f test_drain_core || fail "it could not be unloaded by force"
	loaded test_drain_core && fail "the core is still there"
	insmod test_modules/test_drain_core.ko || fail "the core does not load again"
}

# Without the bit of forced_without_a_drain()
taint() { echo $(($(cat /proc/sys/kernel/tainted) & ~8)); }

one() {
	splat='Disabling lock debugging|cut here|WARNING: |BUG: |Oops|KASAN: |INFO: |refcount_t:'
	mark="module drain selftest: $1 ($$)"
	echo "<6>$mark" >/dev/kmsg
	title=$(echo "$1" | tr _ ' ')
	(trap 'exit 1' HUP INT TERM; "$1")
	rc=$?
	# Lockdep ends with what is forced.
	[ "$1" != forced_without_a_drain ] || splat=${splat#*|}
	# Whatever became of it, the next test shall not suffer.
	! loaded $USER || unloading $USER || rmmod $USER
	# A module that has left sysfs may still be there for insmod.
	for _ in $(seq 100); do
		grep -q "^$USER " /proc/modules || break
		sleep 0.1
	done
	echo "<6>$mark ends" >/dev/kmsg
	log=$(messages)
	if [ "$(taint)" != "$taint" ]; then
		echo "# FAIL: taint is $(taint), was $taint"
		taint=$(taint)
		rc=1
	elif ! printf '%s\n' "$log" | grep -qF "$mark ends"; then
		echo "# FAIL: the kernel's log has overrun, there may have been warnings"
		rc=1
	elif printf '%s\n' "$log" | grep -E "$splat"; then
		rc=1
	fi
	case $rc in
	0) ktap_test_pass "$title" ;;
	"$KSFT_SKIP") ktap_test_skip "$title: $(cat "$reason")" ;;
	*) ktap_test_fail "$title" ;;
	esac
}

reason=$(mktemp) || exit
trap 'rm "$reason"' EXIT
trap 'exit 1' HUP INT TERM
ktap_print_header
[ "$(id -u)" -eq 0 ] || { ktap_skip_all "must be run as root"; exit "$KSFT_SKIP"; }
[ -f test_modules/$USER.ko ] || {
	ktap_skip_all "no test_modules/$USER.ko: no KDIR=, or no CONFIG_MODULE_DRAIN"
	exit "$KSFT_SKIP"
}
! loaded test_drain_core || {
	ktap_skip_all "an earlier run has left test_drain_core until the next boot"
	exit "$KSFT_SKIP"
}
insmod test_modules/test_drain_core.ko ||
	{ ktap_skip_all "cannot load modules"; exit "$KSFT_SKIP"; }
taint=$(taint)
stacks=$(grep -Fwo gate_look_stopped /proc/kallsyms)
[ -e /sys/kernel/debug/kprobes ] || mount -t debugfs none /sys/kernel/debug 2>/dev/null

set -- nothing_held waits_in_exit waits_after_exit objects_of_two_subsystems \
	worker_asleep_in_the_text rmmod_in_a_namespace worker_running_in_the_text \
	thread_asleep_in_the_text thread_preempted_in_the_text worker_among_forks \
	sleepers_are_let_go worker_among_processors worker_preempted_in_a_kprobe \
	processors_are_stopped_last sleeper_of_a_processor_that_went timer_in_the_text \
	callbacks_of_a_worker holder_asleep_in_the_core frozen_in_exit frozen_after_exit \
	frozen_at_the_text nobody_counts_as_frozen failed_init others_go_on another_is_stalled \
	killed_before_a_short_tail killed_before_another_object_is_released \
	forced_without_a_drain killed_at_the_text killed_after_failed_init
# shellcheck disable=SC2086
[ -z "${MODULE_DRAIN_TESTS-}" ] || set -- $MODULE_DRAIN_TESTS
ktap_set_plan $#
for test; do
	one "$test"
done
# What was left behind needs it.
rmmod test_drain_core 2>/dev/null
ktap_finished
