#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# What a driver may do that makes unloading it hard. Only for the test driver.

# shellcheck source=tools/testing/selftests/drm_drain/functions.sh
. "$(dirname "$0")/functions.sh"

# shellcheck disable=SC2034
SERIES=y

# takes MS DRIVER
takes() {
	start=$(now_ms)
	unload "$2"
	took=$(($(now_ms) - start))
	[ $took -ge $(($1 - 10)) ] || fail "rmmod returned after $took ms"
	[ $took -lt $(($1 + 10000)) ] || fail "rmmod took $took ms"
}

slow_release() {
	load "$1" release_ms=500
	takes 500 "$1"
	reload "$1"
}

# A report leaves a device alone that is being released.
slow_release_reported() {
	load "$1" worker_ms=1000 release_ms=16000
	takes 17000 "$1"
	logged '\[drm\]   a device is being released by kworker' || fail "there is no report"
	logged 'drm_drain\.0: .*references' && fail "the report has looked into the device"
	logged 'do not pin it' && fail "the driver's files pin it"
	reload "$1"
}

# A report has an end.
many_devices() {
	load "$1" devices=12 worker_ms=16000
	takes 16000 "$1"
	messages | grep '\[drm\]   ' >"$tmp/report"
	[ "$(grep -c 'drm_drain\.[0-9]*: .*references' "$tmp/report")" -eq 10 ] ||
		fail "the report does not name 10 devices"
	[ "$(tail -n 1 "$tmp/report" | sed 's/.*\] *//')" = "and 2 more" ] ||
		fail "the report does not say how many more there are"
	reload "$1"
}

# A worker drops the last reference, and has still to leave the driver's code.
worker_with_a_busy_tail() {
	load "$1" worker_ms=200 tail_ms=500
	takes 700 "$1"
	logged 'worker returns' || fail "the worker has not returned"
	reload "$1"
}

worker_with_a_sleeping_tail() {
	reliable_stacks
	load "$1" worker_ms=200 tail_ms=500 tail_sleeps=1
	takes 700 "$1"
	logged 'worker returns' || fail "the worker has not returned"
	reload "$1"
}

remove_livepatch() {
	loaded drm_drain_livepatch || return
	echo 0 >/sys/kernel/livepatch/drm_drain_livepatch/enabled
	soon rmmod drm_drain_livepatch
} 2>/dev/null

# The worker's function has been replaced, so the worker is in another module.
worker_in_a_livepatch() {
	[ -f test_modules/drm_drain_livepatch.ko ] || skip "no CONFIG_LIVEPATCH"
	load "$1" worker_ms=200 tail_ms=6000
	trap remove_livepatch EXIT
	need insert drm_drain_livepatch
	soon grep -qx 0 /sys/kernel/livepatch/drm_drain_livepatch/transition ||
		fail "the livepatch is not done"
	start=$(now_ms)
	rmmod "$1" &
	rmmod_pid=$!
	waits $rmmod_pid "$1"
	# This is nothing to another driver.
	if ! loaded vgem && modprobe vgem; then
		need rmmod vgem
		logged 'worker returns' && fail "vgem has waited for the worker"
	fi
	finishes $rmmod_pid "$1"
	[ $(($(now_ms) - start)) -ge 6190 ] || fail "rmmod did not wait"
	logged 'worker returns, had to sleep for 6000 ms' || fail "the worker has not returned"
	remove_livepatch
	loaded drm_drain_livepatch && fail "the livepatch is still there"
	reload "$1"
}

# Nobody is in the driver any more, but in drm.ko, which it has used.
holder_below_the_core() {
	reliable_stacks
	# The libraries that other tests have left, and nobody uses
	for _ in 1 2 3; do
		for module in /sys/module/drm/holders/*; do
			case ${module##*/} in
			drm_* | ttm) rmmod "${module##*/}" 2>/dev/null ;;
			esac
		done
	done
	[ "$(references drm)" = 0 ] || skip "drm is in use"
	need insert drm_drain_below
	load "$1" below_ms=8000
	takes 500 "$1"
	logged 'returns to the core' && fail "the holder has returned too early"
	trap 'modprobe drm' EXIT
	need rmmod drm
	logged 'returns to the core' || fail "drm has gone before the holder has returned"
	need modprobe drm
	need rmmod drm_drain_below
	reload "$1"
}

thread_stopped_last() {
	load "$1" thread=1
	takes 0 "$1"
	reload "$1"
}

# Waited for by the core, after the module's exit function
without_drain() {
	load "$1" drain=0
	hold
	rmmod "$1" &
	waits $! "$1"
	echo worker >$HOLDER/put_from
	echo 0 >$HOLDER/put || fail "the holder does not put"
	wait $! || fail "rmmod failed"
	loaded "$1" && fail "$1 is still there"
	logged "module $1 leaves 1 DRM devices behind" || fail "no hint in the log"
	reload "$1"
}

# Begins to load a module. Its init function does not fail before init_fails.
begin_init() {
	old_nodes=$(nodes)
	insert "$@" init_fails_ms=60000 &
	insmod_pid=$!
	# Whatever becomes of the test
	trap "init_fails $1" EXIT
	node=
	for _ in $(seq 500); do
		node=$(new_nodes "$old_nodes" | head -n 1)
		[ -z "$node" ] || break
		sleep 0.01
	done
	[ "$node" ] || fail "there is no device while the module is loaded"
	node=/dev/dri/$node
	soon test -c "$node" || fail "there is no $node"
}

# Some insmod tries again in another way.
init_fails() {
	while [ -d /proc/$insmod_pid ]; do
		echo 0 >"/sys/module/$1/parameters/init_fails_ms"
		sleep 0.1
	done 2>/dev/null &
}

failed_init() {
	loaded drm_drain_holder || need insert drm_drain_holder
	begin_init "$1"
	hold
	echo worker >$HOLDER/put_from
	start=$(now_ms)
	echo 2000 >$HOLDER/put || fail "the holder does not put"
	init_fails "$1"
	wait $insmod_pid && fail "$1 has loaded"
	[ $(($(now_ms) - start)) -ge 1990 ] || fail "insmod did not wait"
	loaded "$1" && fail "$1 is still there"
	logged "module $1 leaves 1 DRM devices behind" || fail "no hint in the log"
	reload "$1"
}

# A file that was opened meanwhile is closed when all else is gone. Closing it goes
# on, in another module, after the last reference on the device was dropped.
failed_init_with_a_file_open() {
	loaded drm_drain_holder || need insert drm_drain_holder
	echo 1000 >$HOLDER/close_ms
	begin_init "$1" fops=slow
	keeping open "$node"
	init_fails "$1"
	soon is "$1" going || fail "the init function has not failed"
	sleep 0.5
	[ -d /proc/$insmod_pid ] || fail "insmod has not waited for the file"
	loaded "$1" || fail "$1 is gone while it has a file open"
	kill "$keeper" || fail "process $keeper is gone"
	# Some insmod tries again in another way.
	for _ in 1 2 3 4 5 6; do
		soon not is "$1" going && break
	done
	logged 'returns from closing the file' ||
		fail "$1 has gone before the file was closed"
	wait $insmod_pid && fail "$1 has loaded"
	loaded "$1" && fail "$1 is still there"
	echo 0 >$HOLDER/close_ms
	reload "$1"
}

# Without file operations there are no files. The device is counted all the same, and
# the exit function waits for it.
without_file_operations() {
	old_nodes=$(nodes)
	need insert "$1" fops=none worker_ms=5000
	node=/dev/dri/$(new_nodes "$old_nodes" | head -n 1)
	(exec 3<"$node") 2>/dev/null && fail "there is a file"
	rmmod "$1" &
	rmmod_pid=$!
	waits $rmmod_pid "$1"
	grep -q module_drain_wait /proc/$rmmod_pid/stack || fail "the exit function does not wait"
	finishes $rmmod_pid "$1"
	logged 'worker returns' || fail "the worker has not returned"
	reload "$1"
}

# Whatever the driver's file operations say, an open file refuses, a reference is waited
# for, and one warning tells.
file_operations_without_owner() {
	load "$1" fops=ownerless
	command exec 3<"$node" || fail "cannot open $node"
	refuses "$1"
	exec 3<&-
	hold
	rmmod "$1" &
	rmmod_pid=$!
	waits $rmmod_pid "$1"
	echo worker >$HOLDER/put_from
	echo 0 >$HOLDER/put || fail "the holder does not put"
	finishes $rmmod_pid "$1"
	[ "$(messages | grep -c "file operations of module $1 name no owner")" -eq 1 ] ||
		fail "there is not one warning"
	reload "$1"
}

# A file pins the module that these name, and the driver waits for it.
file_operations_of_another_module() {
	loaded drm_drain_holder || need insert drm_drain_holder
	load "$1" fops=foreign
	command exec 3<"$node" || fail "cannot open $node"
	rmmod "$1" 3<&- &
	rmmod_pid=$!
	waits $rmmod_pid "$1"
	exec 3<&-
	finishes $rmmod_pid "$1"
	[ "$(messages | grep -c "files of module $1 do not pin it")" -eq 1 ] ||
		fail "there is not one warning"
	reload "$1"
}

# The exit function would wait for the file that force ignores.
forced_with_a_file_open() {
	zcat /proc/config.gz 2>/dev/null | grep -q 'CONFIG_MODULE_FORCE_UNLOAD is not set' &&
		skip "no CONFIG_MODULE_FORCE_UNLOAD"
	load "$1"
	command exec 3<"$node" || fail "cannot open $node"
	rmmod -f "$1" 2>/dev/null && fail "$1 could be unloaded by force"
	refuses "$1"
	exec 3<&-
	unload "$1"
	reload "$1"
}

# A fatal signal ends the wait after the exit function, and leaves the module where it
# is. The module is dead then, so this is one that nothing else needs.
killed_after_exit() {
	loaded drm_drain_left && skip "drm_drain_left was left behind before"
	load drm_drain_left drain=0
	hold
	rmmod drm_drain_left &
	rmmod_pid=$!
	waits $rmmod_pid drm_drain_left
	kill -9 $rmmod_pid
	wait $rmmod_pid
	is drm_drain_left going || fail "the module is $state"
	logged "was killed, module drm_drain_left stays in memory" || fail "no word of that"
	insert drm_drain_left 2>/dev/null && fail "it could be loaded twice"
	rmmod drm_drain_left 2>/dev/null && fail "it could be unloaded twice"
	# Its code is still there for the last reference.
	echo worker >$HOLDER/put_from
	echo 0 >$HOLDER/put || fail "the holder does not put"
	soon logged 'release ends' || fail "the device was not released"
}

# Allocations can fail until the test ends. Then failslab is as it was.
use_failslab() {
	[ -d $DEBUGFS/failslab ] || skip "no CONFIG_FAILSLAB"
	ignore=$(cat $DEBUGFS/failslab/ignore-gfp-wait)
	verbose=$(cat $DEBUGFS/failslab/verbose)
	trap 'echo "$ignore" >$DEBUGFS/failslab/ignore-gfp-wait
		echo "$verbose" >$DEBUGFS/failslab/verbose' EXIT
	echo N >$DEBUGFS/failslab/ignore-gfp-wait
	echo 0 >$DEBUGFS/failslab/verbose
}

failed_allocations() {
	use_failslab
	n=0
	tolerated=0
	until [ $n -ge 300 ]; do
		n=$((n + 1))
		insert "$1" fail_nth=$n 2>/dev/null || continue
		need rmmod "$1"
		! logged 'has made [0-9]* allocations' || break
		tolerated=$((tolerated + 1))
	done
	[ $n -lt 300 ] || fail "there is no end of allocations"
	# The last time, there was none to fail.
	say "$((n - 1)) allocations have failed, $tolerated of them without consequence"
	[ $n -ge 7 ] || fail "these are too few"
}

# Without a device, the exit function is the first that has to remember the module.
failed_allocation_on_exit() {
	use_failslab
	need insert "$1" devices=0 fail_exit=1
	need rmmod "$1"
	reload "$1"
}

# outlived PARAMETER...: a VA space has a callback into the driver, and holds the
# device
outlived() {
	[ -f test_modules/drm_drain_gpuvm.ko ] || skip "no CONFIG_DRM_GPUVM"
	need modprobe drm_gpuvm
	load drm_drain_gpuvm put_ms=500 "$@"
	takes 500 drm_drain_gpuvm
	logged 'frees the VA space of drm_drain_gpuvm' || fail "the VA space was not freed"
	logged 'DRM devices behind' && fail "the driver's exit does not wait"
	reload drm_drain_gpuvm
	# Nobody may be in the helper either when it goes.
	! grep -q '^drm_gpuvm [0-9]* 0 ' /proc/modules || need rmmod drm_gpuvm
}

outlived_by_a_va_space() { outlived; }
outlived_by_a_va_space_put_in_a_timer() { outlived put_atomic=1; }

run drm_drain_driver slow_release slow_release_reported many_devices \
	worker_with_a_busy_tail worker_with_a_sleeping_tail worker_in_a_livepatch \
	holder_below_the_core failed_allocations \
	thread_stopped_last without_drain failed_init failed_init_with_a_file_open \
	without_file_operations \
	file_operations_without_owner file_operations_of_another_module \
	failed_allocation_on_exit \
	outlived_by_a_va_space outlived_by_a_va_space_put_in_a_timer \
	forced_with_a_file_open killed_after_exit
