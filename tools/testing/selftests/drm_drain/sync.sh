#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Fences: those of the device, and those that it waits for. This needs nothing that other
# kernels do not have.

# shellcheck source=tools/testing/selftests/drm_drain/functions.sh
. "$(dirname "$0")/functions.sh"

# Only while there is the file: the fence itself pins nothing, and vgem's must not
# outlive the module.
fence_on_a_buffer() {
	load "$1"
	[ "$1" = vgem ] || lacks fence
	held "$1" fence "$card"
}

# A sync_file does not pin the driver, and once the fence is signalled, it can be closed
# without it.
out_fence() {
	load "$1"
	has card "$card"
	keeping outfence "$card"
	unload "$1"
	[ -d "/proc/$keeper" ] || fail "process $keeper is gone"
	let_go "$keeper"
	reload "$1"
}

# Neither does a syncobj. With the series, it pins the core.
syncobj() {
	load "$1"
	keeping syncobj "$node"
	unload "$1"
	[ -d "/proc/$keeper" ] || fail "process $keeper is gone"
	pinned=$(references drm)
	let_go "$keeper"
	if loaded drm && has_function drm_module_drain; then
		[ "$(references drm)" -lt "$pinned" ] || fail "the syncobj has not pinned drm.ko"
	fi
	reload "$1"
}

needs_sw_sync() {
	[ ! -e $DEBUGFS/sync/sw_sync ] || return
	! loaded "$driver" || rmmod "$driver"
	skip "no CONFIG_SW_SYNC"
}

commit_waits() {
	load "$1"
	needs_sw_sync
	has card "$card"
	held "$1" infence "$card"
}

# The commit is what close() waits for, and a file that is being closed pins as well.
commit_waits_and_file_is_closed() {
	load "$1"
	needs_sw_sync
	has card "$card"
	keeping closing "$card"
	refuses "$1"
	sleep 1
	refuses "$1"
	let_go "$keeper"
	refuses_itself "$1" closing "$card"
	refuses_heir "$1" closing "$card"
	soon rmmod "$1" 2>/dev/null
	loaded "$1" && fail "$1 cannot be unloaded after the fence was signalled"
	reload "$1"
}

run "$DRM_DRAIN_DRIVERS" fence_on_a_buffer out_fence syncobj commit_waits \
	commit_waits_and_file_is_closed
