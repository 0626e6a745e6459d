#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The file with the CRCs of what a CRTC shows pins drm.ko only: the driver goes, and with it
# the CRTC, while the file is open, is read, or is polled. Other kernels may use freed
# memory then. With vkms.

# shellcheck source=tools/testing/selftests/drm_drain/functions.sh
. "$(dirname "$0")/functions.sh"

# shellcheck disable=SC2034
SERIES=y

# A display that is on; sets data, the file
load_crc() {
	load "$1"
	has card "$card"
	keeping mode "$card"
	[ -d $DEBUGFS/dri ] || skip "no CONFIG_DEBUG_FS"
	data=$(find "$DEBUGFS/dri/${card#/dev/dri/card}/" -path '*/crc/data' | head -n 1)
	[ "$data" ] || fail "there is no file for CRCs"
}

# switched_off DRIVER: there is nothing more to be read; and the driver goes
switched_off() {
	let_go "$keeper"
	unload "$1"
}

crc_file_open() {
	load_crc "$1"
	command exec 3<"$data" || fail "cannot open $data"
	head -n 1 <&3 | grep -q '^0x' || fail "there are no CRCs"
	switched_off "$1"
	exec 3<&-
	reload "$1"
}

# The reader waits for more CRCs than there are.
crc_file_read() {
	load_crc "$1"
	cat "$data" >"$tmp/crc" 2>"$tmp/error" &
	reader=$!
	say $reader >>"$tmp/keepers"
	soon test -s "$tmp/crc" || fail "there are no CRCs"
	[ -d /proc/$reader ] || fail "the reader has ended: $(cat "$tmp/error")"
	switched_off "$1"
	wait $reader && fail "the reader has not seen that the driver goes"
	grep -q 'No such device' "$tmp/error" || fail "the reader says: $(cat "$tmp/error")"
	reload "$1"
}

crc_file_polled() {
	load_crc "$1"
	poller=$(./drm_drain_user poll "$data" 2>"$tmp/error") || fail "$(cat "$tmp/error")"
	say "$poller" >>"$tmp/keepers"
	soon grep -q poll "/proc/$poller/wchan" || fail "the poller does not wait"
	switched_off "$1"
	soon has_ended "$poller" || fail "the poller has not seen that the driver goes"
	reload "$1"
}

run vkms crc_file_open crc_file_read crc_file_polled
