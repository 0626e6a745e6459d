#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# What else a driver gives to user space: a DP AUX channel, the I2C bus on it, a core
# dump. With a driver of its own.

# shellcheck source=tools/testing/selftests/drm_drain/functions.sh
. "$(dirname "$0")/functions.sh"

load_aux() {
	[ -f test_modules/drm_drain_aux.ko ] || skip "no CONFIG_DRM_DISPLAY_DP_HELPER"
	need modprobe drm_display_helper
	load "$@"
}

# Does not pin the driver, but the helpers, and what there is to be read goes with the driver.
dp_aux_open() {
	load_aux "$1"
	aux=$(grep -lx drm_drain_aux /sys/class/drm_dp_aux_dev/*/name 2>/dev/null) ||
		skip "no CONFIG_DRM_DISPLAY_DP_AUX_CHARDEV"
	aux=/dev/$(basename "$(dirname "$aux")")
	command exec 3<>"$aux" || fail "cannot open $aux"
	head -c 16 <&3 >"$tmp/dpcd" || fail "cannot read $aux"
	[ "$(wc -c <"$tmp/dpcd")" -eq 16 ] || fail "cannot read 16 bytes of $aux"
	unload "$1"
	head -c 16 <&3 >"$tmp/dpcd" 2>/dev/null && fail "$aux can be read without the driver"
	at_once rmmod drm_display_helper 2>/dev/null && fail "the helpers could be unloaded"
	exec 3<&-
	reload "$1"
}

unused() { [ "$(references "$1")" -eq 0 ]; }

# The core dump has a reference on the module until it is written to, or too old.
core_dump() {
	load_aux "$1" dump=1
	dump=$(readlink -f "$parent/devcoredump")
	[ -e "$dump/data" ] || skip "no CONFIG_DEV_COREDUMP"
	command exec 3<"$dump/data" || fail "cannot open $dump/data"
	refuses "$1"
	head -n 1 <&3 | grep -q 'core dump of drm_drain_aux' || fail "not the core dump"
	echo 0 >"$dump/data" || fail "cannot write to $dump/data"
	soon unused "$1"
	# The file is still open.
	unload "$1"
	exec 3<&-
	logged 'core dump is freed' || fail "the core dump has leaked"
	reload "$1"
}

# Needs the adapter to belong to the driver. In a kernel in which it does not, this is
# found out before rmmod waits for the file, for ever if it is rmmod's own.
i2c_open() {
	load_aux "$1"
	modprobe i2c-dev 2>/dev/null
	i2c=$(grep -lx drm_drain_aux /sys/class/i2c-dev/*/name 2>/dev/null) ||
		skip "no CONFIG_I2C_CHARDEV"
	i2c=/dev/$(basename "$(dirname "$i2c")")
	command exec 3<>"$i2c" || fail "cannot open $i2c"
	if [ "$(references "$1")" -eq 0 ]; then
		exec 3<&-
		need rmmod "$1"
		has_function drm_module_drain &&
			fail "the I2C adapter of a DP AUX channel does not pin the driver"
		skip "the I2C adapter of a DP AUX channel does not pin the driver in this kernel"
	fi
	refuses "$1"
	exec 3<&-
	held "$1" open "$i2c"
}

run drm_drain_aux dp_aux_open core_dump i2c_open
