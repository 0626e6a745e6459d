#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Unloading a driver whose device nobody has, whose device somebody has open, and
# whose device was unbound meanwhile.

# shellcheck source=tools/testing/selftests/drm_drain/functions.sh
. "$(dirname "$0")/functions.sh"

idle() {
	load "$1"
	start=$(now_ms)
	unload "$1"
	say "took $(($(now_ms) - start)) ms"
	logged 'do not pin it' && fail "files pin it"
	reload "$1"
}

ten_times_in_a_row() {
	load "$1"
	unload "$1"
	for _ in 2 3 4 5 6 7 8 9; do
		need insert "$1"
		at_once rmmod "$1" || fail "rmmod $1 failed"
	done
	load "$1"
	unload "$1"
}

file_open() {
	load "$1"
	command exec 3<"$node" || fail "cannot open $node"
	refuses "$1"
	refuses "$1"
	exec 3<&-
	unload "$1"
	reload "$1"
}

# The file is closed by another process, sooner or later after rmmod began to try.
unbound_with_file_open() {
	for delay in 0 0.01 0.02 0.05 0.1 0.3; do
		load "$1"
		find_device "$1"
		command exec 3<"$node" || fail "cannot open $node"
		need tee "$device/driver/unbind" <<-EOF >/dev/null
		${device##*/}
		EOF
		rmmod "$1" 2>/dev/null && fail "$1 could be unloaded"
		sleep $delay &
		closer=$!
		exec 3<&-
		for _ in $(seq 500); do
			rmmod "$1" 2>/dev/null && break
			[ -d /proc/$closer ] && continue
			sleep 0.01
		done
		loaded "$1" && fail "$1 cannot be unloaded after the file has been closed"
		wait "$closer"
	done
	reload "$1"
}

run "$DRM_DRAIN_DRIVERS" idle ten_times_in_a_row file_open unbound_with_file_open
