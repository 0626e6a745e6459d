#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The file with the CRCs of what a CRTC shows pins drm.ko only: the driver goes, and with it
# the CRTC, while the file is open, is read, or is polled. With vkms.

# shellcheck source=tools/testing/selftests/drm_drain/functions.sh
. "$(dirname "$0")/functions.sh"

# shellcheck disable=SC2034
SERIES=y

# A display that is on; sets data, the file
load_crc() {
	load "$1"
	has card "$card"
	keeping mode "$card"
	data=$(find "$DEBUGFS/dri/${card#/dev/dri/card}" -path '*/crc/data' | head -n 1)
	[ "$data" ] || skip "no CONFIG_DEBUG_FS"
}

# switched_off DRIVER: there is nothing more to be read; and the driver goes
switched_off() {
	let_go "$keeper"
	unload "$1"
}

crc_file_open() {
	load_crc "$1"
	exec 3<"$data" || fail "cannot open $data"
	head -n 1 <&3 | grep -q '^0x' || fail "there are no CRCs"
	switched_off "$1"
	head -n 1 <&3 >"$tmp/crc" 2>/dev/null
	[ ! -s "$tmp/crc" ] || fail "there are CRCs without the driver"
	exec 3<&-
	reload "$1"
}

# One that waits for more
crc_file_read() {
	load_crc "$1"
	cat "$data" >"$tmp/crc" 2>/dev/null &
	reader=$!
	for _ in $(seq 100); do
		[ ! -s "$tmp/crc" ] || break
		sleep 0.1
	done
	[ -s "$tmp/crc" ] || fail "there are no CRCs"
	switched_off "$1"
	wait $reader && fail "the reader has not seen that the driver goes"
	reload "$1"
}

crc_file_polled() {
	load_crc "$1"
	poller=$(./drm_drain_user poll "$data" 2>"$tmp/error") || fail "$(cat "$tmp/error")"
	say "$poller" >>"$tmp/keepers"
	sleep 0.2
	switched_off "$1"
	for _ in $(seq 100); do
		[ -d "/proc/$poller" ] || break
		sleep 0.1
	done
	[ ! -d "/proc/$poller" ] || fail "the poller has not seen that the driver goes"
	reload "$1"
}

run vkms crc_file_open crc_file_read crc_file_polled
