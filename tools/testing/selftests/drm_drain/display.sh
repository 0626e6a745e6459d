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

framebuffer_device_open() {
	load "$1"
	needs "$fb" "framebuffer device"
	exec 3<"$fb" || fail "cannot open $fb"
	refuses "$1"
	exec 3<&-
	unload "$1"
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

run "$DRM_DRAIN_DRIVERS" framebuffer_device_open leased flip_in_flight
