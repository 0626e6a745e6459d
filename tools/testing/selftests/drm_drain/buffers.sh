#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Buffers outlive the file that they were made with, and pin the driver's module. This
# needs nothing that other kernels do not have.

# shellcheck source=tools/testing/selftests/drm_drain/functions.sh
. "$(dirname "$0")/functions.sh"

mapped() {
	load "$1"
	has card "$card"
	held_mapping "$1" mmap "$card"
}

exported() {
	load "$1"
	has card "$card"
	held "$1" export "$card"
}

exported_and_mapped() {
	load "$1"
	has card "$card"
	held_mapping "$1" mapbuf "$card"
}

# second DRIVER: another driver, to exchange buffers with; sets other and other_card
second() {
	other=
	[ "$1" = vgem ] || ! modinfo vgem >/dev/null 2>&1 || other=vgem
	[ "$other" ] || other=vkms
	if loaded $other; then
		! loaded "$1" || rmmod "$1"
		skip "$other is loaded already"
	fi
	mine=$node my_card=$card
	(load $other) || {
		[ $? -eq "$KSFT_SKIP" ] || fail "the second driver does not load"
		! loaded "$1" || rmmod "$1"
		skip "no second driver: $(cat "$tmp/reason")"
	}
	other_card=/dev/dri/$(nodes | grep card | grep -vxF "${card#/dev/dri/}" | tail -n 1)
	node=$mine card=$my_card
}

# The second driver has a buffer of the first one, which pins both.
imported() {
	load "$1"
	has card "$card"
	second "$1"
	keeping import "$card" "$other_card"
	refuses "$1"
	refuses "$other" "$other_card"
	let_go "$keeper"
	for module in "$1" "$other"; do
		refuses_itself "$module" import "$card" "$other_card"
		refuses_heir "$module" import "$card" "$other_card"
	done
	need rmmod "$other"
	unload "$1"
	reload "$1"
}

# Both have a buffer of the other one, and are unloaded at once when that ends.
exchanged() {
	load "$1"
	has card "$card"
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

run "$DRM_DRAIN_DRIVERS" mapped exported exported_and_mapped imported exchanged
