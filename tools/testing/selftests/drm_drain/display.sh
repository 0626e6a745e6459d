#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# A driver is unloaded while its display is in use: the framebuffer device, a
# lease, and a page flip that was not waited for.

# shellcheck source=tools/testing/selftests/drm_drain/functions.sh
. "$(dirname "$0")/functions.sh"

needs() {
	[ "$1" ] && return
	rmmod "$driver"
	skip "$driver has no $2"
}

# The framebuffer device holds the DRM device, not the driver's module.
framebuffer_device_open() {
	load "$1"
	needs "$fb" "framebuffer device"
	exec 3<"$fb" || fail "cannot open $fb"
	rmmod "$1" 3<&- &
	rmmod_pid=$!
	waits $rmmod_pid "$1"
	[ ! -e "$fb" ] || fail "$fb is still there"
	[ ! -e "$node" ] || fail "$node is still there"
	head -c 1 <&3 >/dev/null 2>&1 && fail "the framebuffer can still be read"
	exec 3<&-
	finishes $rmmod_pid "$1"
	reload "$1"
}

# What is drawn all the time has nowhere to go when the device is unbound.
framebuffer_device_mapped() {
	load "$1"
	needs "$fb" "framebuffer device"
	keeping fbmap "$fb"
	sleep 0.3
	rmmod "$1" &
	rmmod_pid=$!
	waits $rmmod_pid "$1"
	sleep 0.3
	let_go "$keeper"
	finishes $rmmod_pid "$1"
	reload "$1"
}

framebuffer_device_closed_during_rmmod() {
	for delay in 0 0.01 0.02 0.05 0.1 0.3; do
		load "$1"
		needs "$fb" "framebuffer device"
		exec 3<"$fb" || fail "cannot open $fb"
		rmmod "$1" 3<&- &
		rmmod_pid=$!
		sleep $delay
		exec 3<&-
		finishes $rmmod_pid "$1"
	done
	reload "$1"
}

leased() {
	load "$1"
	needs "$card" "primary node"
	keeping lease "$card"
	refuses "$1"
	let_go "$keeper"
	unload "$1"
	reload "$1"
}

flip_in_flight() {
	for _ in 1 2 3 4 5; do
		load "$1"
		needs "$card" "primary node"
		./drm_drain_user flip "$card" 2>"$tmp/error" || {
			[ $? -eq "$KSFT_SKIP" ] || fail "$(cat "$tmp/error")"
			rmmod "$1"
			skip "flip: $(cat "$tmp/error")"
		}
		unload "$1"
	done
	reload "$1"
}

run "$DRM_DRAIN_DRIVERS" framebuffer_device_open framebuffer_device_mapped \
	framebuffer_device_closed_during_rmmod leased flip_in_flight
