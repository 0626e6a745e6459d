#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The sound of a connector, with drivers of its own. Files of a sound card pin the
# driver of the card, which is not the display's. What the display's waits for, when it
# is unloaded, is all that user space has of the card. This needs nothing that other
# kernels do not have.

# shellcheck source=tools/testing/selftests/drm_drain/functions.sh
. "$(dirname "$0")/functions.sh"

has_control() {
	for control in /sys/bus/faux/devices/drm_drain_card/sound/card*/controlC*; do
		[ ! -d "$control" ] || return 0
	done
	return 1
}

load_sound() {
	[ -f test_modules/drm_drain_sound.ko ] || skip "no CONFIG_SND_SOC_HDMI_CODEC"
	need modprobe snd-soc-hdmi-codec
	load "$1"
	need insert drm_drain_card
	soon has_control
	control=/dev/snd/$(basename "$control")
	[ -c "$control" ] || fail "there is no sound card"
}

sound_card() {
	load_sound "$1"
	unload "$1"
	need rmmod drm_drain_card
	reload "$1"
}

# Some other process has the file, or this could not end.
sound_card_open() {
	load_sound "$1"
	keeping open "$control"
	rmmod "$1" &
	rmmod_pid=$!
	sleep 2
	[ -d /proc/$rmmod_pid ] || fail "rmmod does not wait for $control"
	is "$1" going || fail "$1 is $state"
	let_go "$keeper"
	soon test ! -d /proc/$rmmod_pid || fail "rmmod does not return"
	wait $rmmod_pid || fail "rmmod failed"
	loaded "$1" && fail "$1 is still there"
	need rmmod drm_drain_card
	reload "$1"
}

run drm_drain_sound sound_card sound_card_open
