#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Many tasks sleep in the kernel with stacks that some unwinders cannot read, and
# none of them has to do with DRM: a driver unloads as if these tasks were not there. With
# the test driver.

# shellcheck source=tools/testing/selftests/drm_drain/functions.sh
. "$(dirname "$0")/functions.sh"

# Only with the series is there somebody who looks at tasks.
# shellcheck disable=SC2034
SERIES=y

TASKS=${DRM_DRAIN_TASKS:-1000}
# What they may add to the time that rmmod takes. A stack is read in microseconds,
# but 1,000 tasks and a slow machine are a load of their own.
LIMIT_MS=10000

# takes LABEL DRIVER
takes() {
	start=$(now_ms)
	unload "$2"
	took=$(($(now_ms) - start))
	say "$1: took $took ms"
}

unreadable_sleepers() {
	load "$1"
	takes "without tasks" "$1"
	alone=$took
	load "$1"
	keeping_fault tasks "$TASKS"
	takes "with $TASKS tasks" "$1"
	[ $took -lt $((alone + LIMIT_MS)) ] || fail "rmmod took $took ms"
	logged 'has waited for' && fail "a wait was reported"
	let_go "$keeper"
	reload "$1"
}

run drm_drain_driver unreadable_sleepers
