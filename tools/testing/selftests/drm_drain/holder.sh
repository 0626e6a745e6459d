#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# A foreign holder of the device, which has no reference on the driver's module,
# drops the last reference while the driver is unloaded, in every context; and while user
# space makes devices come and go.

# shellcheck source=tools/testing/selftests/drm_drain/functions.sh
. "$(dirname "$0")/functions.sh"

# shellcheck disable=SC2034
SERIES=y

HOLD_MS=600

# drops CONTEXT DRIVER
drops() {
	load "$2"
	hold
	echo "$1" >$HOLDER/put_from || fail "the holder does not know $1"
	rmmod "$2" &
	waits $! "$2"
	start=$(now_ms)
	echo $HOLD_MS >$HOLDER/put || fail "the holder does not put"
	wait $! || fail "rmmod failed"
	took=$(($(now_ms) - start))
	loaded "$2" && fail "$2 is still there"
	[ $took -ge $((HOLD_MS - 10)) ] || fail "rmmod returned after $took ms"
	[ $took -lt 10000 ] || fail "rmmod took $took ms"
	logged "drops its reference from $1" || fail "not dropped from a $1"
	case $1 in
	softirq) logged 'is in a soft interrupt: 1' || fail "no soft interrupt" ;;
	hardirq) logged 'is in a hard interrupt: 1' || fail "no hard interrupt" ;;
	esac
	logged 'DRM devices behind' && fail "the driver's exit does not wait"
	reload "$2"
}

dropped_by_a_worker() { drops worker "$1"; }
dropped_by_a_thread() { drops thread "$1"; }
dropped_by_another_worker() { drops deferred "$1"; }
dropped_in_a_soft_interrupt() { drops softirq "$1"; }
dropped_in_a_hard_interrupt() { drops hardirq "$1"; }

# As soon as it is the last one, which is in the middle of rmmod; and releasing
# takes a while.
dropped_during_rmmod() {
	load "$1"
	loaded drm_drain_holder || need insert drm_drain_holder
	echo 300 >$HOLDER/release_ms
	hold
	echo worker >$HOLDER/put_from
	echo -1 >$HOLDER/put || fail "the holder does not put"
	start=$(now_ms)
	unload "$1"
	took=$(($(now_ms) - start))
	[ $took -ge 290 ] || fail "rmmod returned after $took ms"
	reload "$1"
}

stop_creating() {
	rm -f "$tmp/creating"
	wait "$creator"
}

# creating DRIVER FILE COMMAND...: user space does that again and again, by which devices
# come and go. When rmmod waits, there is no FILE to do it with, and no device has come
# meanwhile.
creating() {
	held_driver=$1
	file=$2
	shift 2
	hold
	: >"$tmp/creating"
	while [ -e "$tmp/creating" ]; do
		"$@"
		sleep 0.01
	done >/dev/null 2>&1 &
	creator=$!
	trap stop_creating EXIT
	for _ in $(seq 1200); do
		[ "$(messages | grep -c 'Initialized .* on minor')" -lt 3 ] || break
		sleep 0.05
	done
	[ "$(messages | grep -c 'Initialized .* on minor')" -ge 3 ] ||
		fail "no devices come and go"
	# A directory in configfs refuses, as long as it is there.
	for _ in $(seq 1200); do
		rmmod "$held_driver" 2>/dev/null &
		rmmod_pid=$!
		while [ -d /proc/$rmmod_pid ] && is "$held_driver" live; do
			sleep 0.01
		done
		is "$held_driver" live || break
	done
	waits "$rmmod_pid" "$held_driver"
	sleep 0.1
	[ ! -e "$file" ] || fail "$file is still there"
	[ -z "$(new_nodes "$old_nodes")" ] || fail "there is a device"
	echo worker >$HOLDER/put_from
	echo 0 >$HOLDER/put || fail "the holder does not put"
	finishes "$rmmod_pid" "$held_driver"
	stop_creating
	trap - EXIT
	reload "$held_driver"
}

bind_again() {
	echo "${device##*/}" >"$files/unbind"
	echo "${device##*/}" >"$files/bind"
}

bound_during_rmmod() {
	load "$1"
	find_device "$1"
	files=$(readlink -f "$device/driver")
	creating "$1" "$files" bind_again
}

# With a new id, whichever, a driver is tried with all devices that have none.
identify_again() {
	echo "${device##*/}" >"$files/unbind"
	echo "ffff $1" >"$files/new_id"
	echo "ffff $1" >"$files/remove_id"
}

identified_during_rmmod() {
	load "$1"
	find_device "$1"
	files=$(readlink -f "$device/driver")
	[ -e "$files/new_id" ] || lacks new_id
	creating "$1" "$files" identify_again ffff
}

# configure, unconfigure: a device of vkms that user space makes in configfs
configure() {
	dir=$CONFIGFS/vkms/drm_drain
	mkdir "$dir" "$dir/crtcs/c" "$dir/planes/p" "$dir/encoders/e" "$dir/connectors/o" &&
		echo 1 >"$dir/planes/p/type" &&
		ln -s "$dir/crtcs/c" "$dir/planes/p/possible_crtcs" &&
		ln -s "$dir/crtcs/c" "$dir/encoders/e/possible_crtcs" &&
		ln -s "$dir/encoders/e" "$dir/connectors/o/possible_encoders" &&
		echo 1 >"$dir/enabled"
}

unconfigure() {
	dir=$CONFIGFS/vkms/drm_drain
	echo 0 >"$dir/enabled"
	rm "$dir"/*/*/possible_*/*
	rmdir "$dir"/*/* "$dir"
}

configure_again() {
	configure
	unconfigure
}

configured_during_rmmod() {
	load "$1"
	[ -d "$CONFIGFS/$1" ] || lacks configfs
	creating "$1" "$CONFIGFS/$1" configure_again
}

# load_configured DRIVER: sets node, that of a device which user space has made; own, the others
load_configured() {
	load "$1"
	[ -d "$CONFIGFS/$1" ] || lacks configfs
	own=$(nodes)
	trap 'unconfigure 2>/dev/null' EXIT
	need configure
	node=/dev/dri/$(new_nodes "$own" | head -n 1)
}

# One that user space has made, and removed again, is held, and the module's own is not.
several_devices() {
	load_configured "$1"
	hold
	need unconfigure
	[ -z "$(new_nodes "$own")" ] || fail "$node is still there"
	rmmod "$1" &
	waits $! "$1"
	echo worker >$HOLDER/put_from
	echo 0 >$HOLDER/put || fail "the holder does not put"
	finishes $! "$1"
	reload "$1"
}

# The file finds its connector, but not the configuration, which is gone.
removed_with_a_file_open() {
	load_configured "$1"
	keeping probe "$node"
	need unconfigure
	let_go "$keeper"
	unload "$1"
	reload "$1"
}

# The report, and a system that goes on: the other drivers come and go.
not_dropped() {
	load "$1"
	hold
	start=$(now_ms)
	rmmod "$1" &
	rmmod_pid=$!
	waits $rmmod_pid "$1"
	kill -9 $rmmod_pid
	sleep 0.2
	[ -d /proc/$rmmod_pid ] || fail "rmmod was killed"
	for other in vgem vkms; do
		if [ "$other" != "$1" ] && ! loaded $other && modprobe $other; then
			need rmmod $other
		fi
	done
	while [ $(($(now_ms) - start)) -lt 11500 ]; do
		sleep 1
	done
	is_idle $rmmod_pid || fail "rmmod has ended"
	logged "has waited for 10 s until the DRM devices of module $1 are released" ||
		fail "no report after 10 s"
	messages | grep -A 1 'has waited for 10 s' |
		grep -q "\\[drm\\]   $(basename "$parent"): .*references" ||
		fail "the report does not name the device"
	# CONFIG_DRM_DEBUG_DEVICE_REFS
	if has_function drm_dev_refs_print; then
		logged "\\[drm\\] .*hold_set.*drm_drain_holder" ||
			fail "the report does not say where the holder took its reference"
		messages | sed 's/.*\[drm\] //' | awk '
			/: [0-9]+ references/ { named = 1; left = $2 }
			named && /references taken, the last one by .*:[0-9]+, at/ {
				taken = 1
				left -= $1
			}
			named && /references dropped, the last one by .*:[0-9]+, at/ {
				dropped = 1
				left += $1
			}
			/more not remembered/ { left = 0 }
			END { exit !(taken && dropped && left == 0) }' ||
			fail "the report does not say how many references were taken and dropped"
		# What devres releases is reported when it is unbound, before the wait.
		case $1 in
		vgem | vkms | bochs | cirrus_qemu)
			messages | sed '/has waited for/q' |
				grep -q 'is unbound, and is held by 1 references' ||
				fail "there is no report when the device is unbound"
			;;
		esac
	fi
	logged 'blocked for more than' && fail "a hung task was reported"
	echo worker >$HOLDER/put_from
	echo 0 >$HOLDER/put || fail "the holder does not put"
	wait $rmmod_pid
	loaded "$1" && fail "$1 is still there"
	reload "$1"
}

run "$DRM_DRAIN_DRIVERS" dropped_by_a_worker dropped_by_a_thread dropped_by_another_worker \
	dropped_in_a_soft_interrupt \
	dropped_in_a_hard_interrupt dropped_during_rmmod bound_during_rmmod \
	identified_during_rmmod configured_during_rmmod several_devices \
	removed_with_a_file_open not_dropped
