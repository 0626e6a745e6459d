#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# A driver is unloaded while its display is in use: the framebuffer device and a lease
# pin its module, a page flip that was not waited for does not. This needs nothing that
# other kernels do not have.

# shellcheck source=tools/testing/selftests/drm_drain/functions.sh
. "$(dirname "$0")/functions.sh"

has_fb() {
	[ "$fb" ] && return
	grep -q ' fb$' /proc/devices || {
		! loaded "$driver" || rmmod "$driver"
		skip "no CONFIG_FB_DEVICE"
	}
	lacks fb
}

framebuffer_device_open() {
	load "$1"
	has_fb
	held "$1" fb "$fb"
}

framebuffer_device_mapped() {
	load "$1"
	has_fb
	held_mapping "$1" fbmap "$fb"
}

leased() {
	load "$1"
	has card "$card"
	held "$1" lease "$card"
}

flip_in_flight() {
	for _ in 1 2 3 4 5; do
		load "$1"
		has card "$card"
		./drm_drain_user flip "$card" 2>"$tmp/error" || {
			[ $? -eq "$KSFT_SKIP" ] || fail "$(cat "$tmp/error")"
			lacks flip "$(cat "$tmp/error")"
		}
		unload "$1"
	done
	reload "$1"
}

run "$DRM_DRAIN_DRIVERS" framebuffer_device_open framebuffer_device_mapped leased flip_in_flight
