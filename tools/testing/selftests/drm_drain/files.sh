#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Open files of a device pin the driver's module. This needs nothing that other kernels
# do not have.

# shellcheck source=tools/testing/selftests/drm_drain/functions.sh
. "$(dirname "$0")/functions.sh"

primary_node() {
	load "$1"
	has card "$card"
	held "$1" file "$card"
}

render_node() {
	load "$1"
	has render "$render"
	held "$1" file "$render"
}

# A file that the shell has, and rmmod from it
inherited_from_a_shell() {
	load "$1"
	command exec 3<"$node" || fail "cannot open $node"
	refuses "$1"
	exec 3<&-
	unload "$1"
	reload "$1"
}

# Pins drm.ko only: the driver goes, and there is nothing to be read anymore.
debugfs_file() {
	load "$1"
	has card "$card"
	name=$DEBUGFS/dri/${card#/dev/dri/card}/name
	[ -e "$name" ] || fail "there is no $name"
	command exec 3<"$name" || fail "cannot open $name"
	unload "$1"
	cat <&3 >"$tmp/name" 2>/dev/null && fail "$name can be read without the driver"
	exec 3<&-
	reload "$1"
}

# A directory that user space made, for a device of vkms that it configures
configfs_directory() {
	load "$1"
	[ "$1" = vkms ] || lacks configfs
	if [ ! -d "$CONFIGFS/$1" ]; then
		rmmod "$1"
		skip "no CONFIG_CONFIGFS_FS"
	fi
	need mkdir "$CONFIGFS/$1/drm_drain"
	refuses "$1"
	need rmdir "$CONFIGFS/$1/drm_drain"
	unload "$1"
	reload "$1"
}

run "$DRM_DRAIN_DRIVERS" primary_node render_node inherited_from_a_shell debugfs_file \
	configfs_directory
