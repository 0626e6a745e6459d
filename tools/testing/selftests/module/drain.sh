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
last=$(sed 's/.*[-,]//' /sys/devices/system/cpu/online)

fail() { echo "# FAIL: $*"; exit "$KSFT_FAIL"; }
loaded() { grep -q "^$1 " /proc/modules; }
unloading() { grep -q "^$1 .* Unloading " /proc/modules; }
messages() { dmesg | awk -v mark="$mark" 'on { print } index($0, mark) { on = 1 }'; }
logged() { messages | grep -q -e "$@"; }
insert() { insmod "test_modules/$USER.ko" "$@"; }

# begins PID: rmmod, process PID, has come to its wait, or to its end
begins() {
	until unloading $USER || [ ! -d "/proc/$1" ]; do
		sleep 0.05
	done
}

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
	[ $took -lt $((2 * $1 + 10000)) ] || fail "rmmod took $took ms"
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
	insert both=1 wait=1 hold_ms=500 && takes 1000
	logged "module $USER leaves 1 other objects behind" || fail "no hint in the log"
}

# after FIRST SECOND: in the log
after() { messages | awk -v first="$1" 'index($0, first) { on = 1 } on' | grep -q "$2"; }

worker_asleep_in_the_text() {
	grep -qw gate_look_stopped /proc/kallsyms || exit "$KSFT_SKIP"
	insert wait=1 tail_ms=3000 && takes 3000
	after 'exit returns' 'worker returns' ||
		fail "the worker has not returned, or not after the exit function"
}

thread_asleep_in_the_text() {
	grep -qw gate_look_stopped /proc/kallsyms || exit "$KSFT_SKIP"
	insert wait=1 thread=1 tail_ms=3000 && takes 3000
	after 'exit returns' 'thread returns' ||
		fail "the thread has not returned, or not after the exit function"
}

# It runs on the last processor, and rmmod does not. Only its instruction pointer tells where it is.
worker_running_in_the_text() {
	[ "$last" -gt 0 ] || exit "$KSFT_SKIP"
	RMMOD="taskset 1 rmmod"
	insert wait=1 busy=1 tail_ms=1000 && takes 1000
	logged 'worker returns' || fail "the worker has not returned"
}

# compute: another process has the last processor
compute() {
	[ "$last" -lt 63 ] || exit "$KSFT_SKIP"
	taskset "$(printf %x $((1 << last)))" sh -c 'while :; do :; done' &
	other=$!
	trap 'kill $other; wait' EXIT
}

# It neither runs nor sleeps most of the time.
thread_preempted_in_the_text() {
	uname -v | grep -q PREEMPT || exit "$KSFT_SKIP"
	compute
	insert wait=1 thread=1 busy=1 tail_ms=1000 && takes 1000
	kill -0 $other || fail "nothing else has computed"
	ran=$(messages | sed -n 's/.*thread returns, ran for \([0-9]*\) ms.*/\1/p')
	[ "$ran" ] || fail "the thread has not returned"
	[ "$ran" -lt 500 ] || fail "the thread had the processor for $ran ms"
}

# A soft interrupt may be on no task's stack. This one is on another processor.
timer_in_the_text() {
	[ "$last" -gt 0 ] || exit "$KSFT_SKIP"
	compute
	insert wait=1 hold_ms=200 timer_ms=500 callback_ms=2000
	taskset 1 rmmod $USER || fail "rmmod failed"
	logged 'timer returns' || fail "the timer has not returned"
	logged 'callbacks return' || fail "the callbacks of the timer have not returned"
}

# Where something else is to run, not all are called at a time. That is where rmmod is not.
callbacks_of_a_worker() {
	compute
	RMMOD="taskset 1 rmmod"
	insert wait=1 tail_ms=1 callback_ms=2000 && takes 2000
	logged 'callbacks return' || fail "the callbacks have not returned"
}

# Tasks are born, and die, while the stacks are looked at.
worker_among_forks() {
	grep -qw gate_look_stopped /proc/kallsyms || exit "$KSFT_SKIP"
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

# Tasks are moved from a processor that goes, while they are looked at.
worker_among_processors() {
	grep -qw gate_look_stopped /proc/kallsyms || exit "$KSFT_SKIP"
	online=/sys/devices/system/cpu/cpu1/online
	[ -w $online ] || exit "$KSFT_SKIP"
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

# It has left the module, and is in one that this used.
holder_asleep_in_the_core() {
	grep -qw gate_look_stopped /proc/kallsyms || exit "$KSFT_SKIP"
	echo 1500 >/sys/module/test_drain_core/parameters/tail_ms
	insert wait=1 hold_ms=100 && takes 100
	rmmod test_drain_core || fail "the core cannot be unloaded"
	returned=y
	logged 'holder returns' || returned=
	insmod test_modules/test_drain_core.ko || fail "the core does not load again"
	[ "$returned" ] || fail "the holder has not returned"
}

# frozen PARAMETER...: the control group of rmmod is frozen while that waits
frozen() {
	grep -qw cgroup2 /proc/filesystems || exit "$KSFT_SKIP"
	group=$(mktemp -d)
	mount -t cgroup2 none "$group" || fail "no control groups"
	trap 'rmdir "$group/drain"; umount "$group"; rmdir "$group"' EXIT
	mkdir "$group/drain"
	insert "$@"
	(
		echo 0 >"$group/drain/cgroup.procs"
		exec rmmod $USER
	) &
	pid=$!
	begins $pid
	sleep 0.2
	echo 1 >"$group/drain/cgroup.freeze"
	for _ in $(seq 20); do
		! grep -q 'frozen 1' "$group/drain/cgroup.events" || break
		sleep 0.05
	done
	grep -q 'frozen 1' "$group/drain/cgroup.events" || fail "the control group does not freeze"
	unloading $USER || fail "the module did not wait for so long"
	echo 0 >"$group/drain/cgroup.freeze"
	wait $pid || fail "rmmod failed"
	! loaded $USER || fail "the module is still there"
}

frozen_in_exit() { frozen wait=1 hold_ms=4000; }
frozen_after_exit() { frozen hold_ms=4000; }
frozen_at_the_text() {
	grep -qw gate_look_stopped /proc/kallsyms || exit "$KSFT_SKIP"
	frozen wait=1 tail_ms=4000
}

failed_init() {
	start=$(now_ms)
	insert init_fails=1 hold_ms=500 2>/dev/null && fail "the module has loaded"
	took=$(($(now_ms) - start))
	loaded $USER && fail "the module is still there"
	[ $took -ge 490 ] || fail "insmod returned after $took ms"
	logged 'object 0 is released' || fail "the object was not released"
}

# Other modules come and go while one is stalled, and with it those that use it.
others_go_on() {
	insert hold_ms=3000
	rmmod $USER &
	pid=$!
	begins $pid
	rmmod test_drain_core 2>/dev/null && fail "the subsystem could be unloaded"
	insert 2>/dev/null && fail "the module could be loaded twice"
	rmmod $USER 2>/dev/null && fail "the module could be unloaded twice"
	if modprobe kunit 2>/dev/null; then
		rmmod kunit || fail "kunit cannot be unloaded"
	fi
	unloading $USER || fail "the module did not wait for so long"
	wait $pid || fail "rmmod failed"
	loaded $USER && fail "the module is still there"
	return 0
}

one() {
	mark="module drain selftest: $1 ($$)"
	echo "<6>$mark" >/dev/kmsg
	title=$(echo "$1" | tr _ ' ')
	("$1")
	rc=$?
	if [ "$(cat /proc/sys/kernel/tainted)" != "$taint" ]; then
		echo "# FAIL: taint is $(cat /proc/sys/kernel/tainted), was $taint"
		taint=$(cat /proc/sys/kernel/tainted)
		rc=1
	elif messages | grep -E 'cut here|WARNING: |BUG: |Oops|KASAN: |INFO: |refcount_t:'; then
		rc=1
	fi
	case $rc in
	0) ktap_test_pass "$title" ;;
	"$KSFT_SKIP") ktap_test_skip "$title" ;;
	*) ktap_test_fail "$title" ;;
	esac
}

ktap_print_header
[ "$(id -u)" -eq 0 ] || { ktap_skip_all "must be run as root"; exit "$KSFT_SKIP"; }
[ -f test_modules/$USER.ko ] || { ktap_skip_all "no CONFIG_MODULE_DRAIN"; exit "$KSFT_SKIP"; }
insmod test_modules/test_drain_core.ko ||
	{ ktap_skip_all "cannot load modules"; exit "$KSFT_SKIP"; }
taint=$(cat /proc/sys/kernel/tainted)

set -- nothing_held waits_in_exit waits_after_exit objects_of_two_subsystems \
	worker_asleep_in_the_text worker_running_in_the_text thread_asleep_in_the_text \
	thread_preempted_in_the_text worker_among_forks worker_among_processors \
	timer_in_the_text callbacks_of_a_worker holder_asleep_in_the_core \
	frozen_in_exit frozen_after_exit frozen_at_the_text failed_init others_go_on
# shellcheck disable=SC2086
[ -z "${MODULE_DRAIN_TESTS-}" ] || set -- $MODULE_DRAIN_TESTS
ktap_set_plan $#
for test; do
	one "$test"
done
rmmod test_drain_core
ktap_finished
