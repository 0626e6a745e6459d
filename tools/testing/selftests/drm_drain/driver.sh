#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# What a driver may do that makes unloading it hard. Only for the test driver.

# shellcheck source=tools/testing/selftests/drm_drain/functions.sh
. "$(dirname "$0")/functions.sh"

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

# A worker drops the last reference, and has still to leave the driver's code.
worker_with_a_busy_tail() {
	load "$1" worker_ms=200 tail_ms=500
	takes 700 "$1"
	logged 'worker returns' || fail "the worker has not returned"
	reload "$1"
}

worker_with_a_sleeping_tail() {
	grep -qw text_walk_stopped /proc/kallsyms || skip "no reliable stack traces"
	load "$1" worker_ms=200 tail_ms=500 tail_sleeps=1
	takes 700 "$1"
	logged 'worker returns' || fail "the worker has not returned"
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

failed_init() {
	loaded drm_drain_holder || need insert drm_drain_holder
	nodes >"$tmp/nodes"
	insert "$1" init_fails_ms=1000 &
	insmod_pid=$!
	node=
	for _ in $(seq 50); do
		node=$(nodes | without "$tmp/nodes" | head -n 1)
		[ -z "$node" ] || break
		sleep 0.01
	done
	[ "$node" ] || fail "there is no device while the module is loaded"
	node=/dev/dri/$node
	hold
	echo worker >$HOLDER/put_from
	start=$(now_ms)
	echo 2000 >$HOLDER/put || fail "the holder does not put"
	wait $insmod_pid && fail "$1 has loaded"
	[ $(($(now_ms) - start)) -ge 1990 ] || fail "insmod did not wait"
	loaded "$1" && fail "$1 is still there"
	logged "module $1 leaves 1 DRM devices behind" || fail "no hint in the log"
	reload "$1"
}

failed_allocations() {
	[ -d $DEBUGFS/failslab ] || skip "no CONFIG_FAILSLAB"
	echo N >$DEBUGFS/failslab/ignore-gfp-wait
	echo 0 >$DEBUGFS/failslab/verbose
	n=1
	tolerated=0
	until logged 'has made [0-9]* allocations'; do
		if insert "$1" fail_nth=$n 2>/dev/null; then
			tolerated=$((tolerated + 1))
			need rmmod "$1"
		fi
		grep "^$1" $DEBUGFS/dri/modules && fail "a module that is not there is on record"
		n=$((n + 1))
		[ $n -lt 300 ] || fail "there is no end of allocations"
	done
	# The last time, there was none to fail.
	say "$((n - 2)) allocations have failed, $((tolerated - 1)) of them without consequence"
	[ $n -ge 8 ] || fail "these are too few"
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

run drm_drain_driver slow_release worker_with_a_busy_tail worker_with_a_sleeping_tail \
	thread_stopped_last without_drain failed_init failed_allocations outlived_by_a_va_space \
	outlived_by_a_va_space_put_in_a_timer
