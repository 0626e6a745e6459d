#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Buffers outlive the file that they were made with. A mapping pins the driver's
# module, an exported buffer only holds the DRM device.

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

# Drivers with dma-buf operations of their own, whose module those pin
pins_exports() {
	case $1 in
	armada | i915 | msm | omapdrm | panfrost | panthor | tegra_drm | virtio_gpu) ;;
	*) return 1 ;;
	esac
}

exported() {
	load "$1"
	needs_card
	keeping export "$card"
	grep -q '^ *1 exported dma-bufs' $DEBUGFS/dri/modules ||
		fail "debugfs does not have the dma-buf"
	if pins_exports "$1"; then
		refuses "$1"
		let_go "$keeper"
		unload "$1"
	else
		rmmod "$1" &
		rmmod_pid=$!
		waits $rmmod_pid "$1"
		[ ! -e "$node" ] || fail "$node is still there"
		grep -q '^ *1 exported dma-bufs' $DEBUGFS/dri/modules ||
			fail "debugfs does not have the dma-buf anymore"
		let_go "$keeper"
		finishes $rmmod_pid "$1"
	fi
	reload "$1"
}

# The last one goes at any time.
exported_until_rmmod() {
	for delay in 0 0.01 0.02 0.05 0.1 0.3; do
		load "$1"
		needs_card
		keeping export "$card"
		first=$keeper
		keeping export "$card"
		{
			sleep $delay
			kill "$first" "$keeper"
		} &
		for _ in $(seq 500); do
			rmmod "$1" 2>/dev/null && break
			sleep 0.01
		done
		wait
		loaded "$1" && fail "$1 is still there"
		logged 'DRM devices behind' && fail "the driver's exit does not wait"
	done
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

# The second driver has a buffer of the first one, and uses it to the end.
imported() {
	load "$1"
	needs_card
	second "$1"
	keeping import "$card" "$other_card"
	refuses "$other" "$other_card"
	if pins_exports "$1"; then
		refuses "$1"
		let_go "$keeper"
		need rmmod "$other"
		unload "$1"
	else
		rmmod "$1" &
		rmmod_pid=$!
		waits $rmmod_pid "$1"
		refuses "$other" "$other_card"
		let_go "$keeper"
		need rmmod "$other"
		finishes $rmmod_pid "$1"
	fi
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

run "$DRM_DRAIN_DRIVERS" mapped exported exported_until_rmmod imported exchanged
