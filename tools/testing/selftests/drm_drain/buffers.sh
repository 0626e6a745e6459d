#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Buffers outlive the file that they were made with, and pin the driver's module.

# shellcheck source=tools/testing/selftests/drm_drain/functions.sh
. "$(dirname "$0")/functions.sh"

needs_card() {
	[ "$card" ] && return
	rmmod "$driver"
	skip "$driver has no primary node"
}

mapped() {
	load "$1"
	needs_card
	keeping mmap "$card"
	refuses "$1"
	let_go "$keeper"
	unload "$1"
	reload "$1"
}

exported() {
	load "$1"
	needs_card
	keeping export "$card"
	refuses "$1"
	grep -q '1 exported dma-bufs' $DEBUGFS/dri/modules || fail "debugfs does not have the dma-buf"
	let_go "$keeper"
	unload "$1"
	reload "$1"
}

# second DRIVER: another driver, to exchange buffers with; sets other and other_card
second() {
	other=
	[ "$1" = vgem ] || ! modinfo vgem >/dev/null 2>&1 || other=vgem
	[ "$other" ] || other=vkms
	loaded $other && skip "$other is loaded already"
	mine=$node my_card=$card
	(load $other) || skip "no second driver: $(cat "$tmp/reason")"
	other_card=/dev/dri/$(nodes | grep card | grep -vxF "${card#/dev/dri/}" | tail -n 1)
	node=$mine card=$my_card
}

# The second driver has a buffer of the first one.
imported() {
	load "$1"
	needs_card
	second "$1"
	keeping import "$card" "$other_card"
	refuses "$1"
	refuses "$other" "$other_card"
	let_go "$keeper"
	need rmmod "$other"
	unload "$1"
	reload "$1"
}

# Both have a buffer of the other one, and are unloaded at once when that ends.
exchanged() {
	load "$1"
	needs_card
	second "$1"
	keeping import "$card" "$other_card"
	first=$keeper
	keeping import "$other_card" "$card"
	refuses "$1"
	refuses "$other" "$other_card"
	kill "$first" "$keeper" || fail "a process is gone"
	for module in "$1" "$other"; do
		for _ in $(seq 500); do
			rmmod "$module" 2>/dev/null && break
			loaded "$module" || break
			sleep 0.01
		done &
	done
	wait
	loaded "$1" && fail "$1 is still there"
	loaded "$other" && fail "$other is still there"
	reload "$1"
}

run "$DRM_DRAIN_DRIVERS" mapped exported imported exchanged
