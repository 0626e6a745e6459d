#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Memory of a device outlives everything else of it: the pagemap, and the pages
# of a process. Only for the test driver.

# shellcheck source=tools/testing/selftests/drm_drain/functions.sh
. "$(dirname "$0")/functions.sh"
SERIES=y

POPULATE=/sys/module/drm_drain_pagemap/parameters/populate

# start PARAMETER...
start() {
	[ -f test_modules/drm_drain_pagemap.ko ] ||
		skip "no CONFIG_DRM_GPUSVM, or no CONFIG_DEVICE_PRIVATE"
	need modprobe drm_gpusvm_helper
	load drm_drain_pagemap "$@"
}

# done_with DRIVER: it comes again, and the helper goes with nobody in it
done_with() {
	logged "destroys the pagemap of $1" || fail "the pagemap was not destroyed"
	logged 'DRM devices behind' && fail "the driver's exit does not wait"
	reload "$1"
	! grep -q '^drm_gpusvm_helper [0-9]* 0 ' /proc/modules || need rmmod drm_gpusvm_helper
}

# dropped_in CONTEXT DRIVER
dropped_in() {
	start put_ms=500 put_from="$1"
	begin=$(now_ms)
	unload "$2"
	took=$(($(now_ms) - begin))
	[ $took -ge 490 ] || fail "rmmod returned after $took ms"
	[ $took -lt 10500 ] || fail "rmmod took $took ms"
	case $1 in
	softirq) logged 'is in a soft interrupt: 1' || fail "no soft interrupt" ;;
	hardirq) logged 'is in a hard interrupt: 1' || fail "no hard interrupt" ;;
	esac
	done_with "$2"
}

dropped_by_a_worker() { dropped_in worker "$1"; }
dropped_in_a_soft_interrupt() { dropped_in softirq "$1"; }
dropped_in_a_hard_interrupt() { dropped_in hardirq "$1"; }

# Right after the device was removed, in all contexts
dropped_at_once() {
	for _ in 1 2 3 4 5; do
		for context in worker softirq hardirq; do
			start put_from=$context
			unload "$1"
		done
	done
	done_with "$1"
}

# The driver warns about a wrong number of references.
cached() {
	start cached=1 put_ms=200
	logged 'has been in the cache: 1' || fail "not found in the cache"
	unload "$1"
	done_with "$1"
}

# The process goes first, and with it the pages.
pages_freed() {
	start
	keeping devmem $POPULATE
	logged 'has its memory back' && fail "no page is in use"
	let_go "$keeper"
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		logged 'has its memory back' && break
		sleep 0.1
	done
	logged 'has its memory back' || fail "the pages were not freed"
	unload "$1"
	done_with "$1"
}

# The device goes first, and the process gets its memory back. It looks at it then.
pages_taken_back() {
	start
	keeping devmem $POPULATE
	logged 'has its memory back' && fail "no page is in use"
	unload "$1"
	logged 'takes its memory back: 0' || fail "the memory was not taken back"
	logged 'has its memory back' || fail "the pages were not freed"
	let_go "$keeper"
	sleep 0.1
	done_with "$1"
}

# Both go at the same time.
pages_freed_during_rmmod() {
	for delay in 0 0 0 0.005 0.01 0.02 0.05; do
		start
		keeping devmem $POPULATE
		{
			sleep $delay
			kill "$keeper"
		} &
		unload "$1"
		wait
		rm -f "$tmp/keepers"
	done
	done_with "$1"
}

run drm_drain_pagemap dropped_by_a_worker dropped_in_a_soft_interrupt dropped_in_a_hard_interrupt \
	dropped_at_once cached pages_freed pages_taken_back pages_freed_during_rmmod
