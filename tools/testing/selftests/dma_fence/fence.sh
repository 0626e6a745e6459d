#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Fences that are signalled, and used when their driver is no more. dma_fence_user has what
# is done with them.
#
# DMA_FENCE_TESTS: only these tests, of the lines below; DMA_FENCE_USES: only these uses.

cd "$(dirname "$0")" || exit
# shellcheck source=/dev/null
for helpers in ../kselftest/ktap_helpers.sh kselftest/ktap_helpers.sh; do
	[ ! -f $helpers ] || . $helpers
done

# Test, driver with parameters, the fence, driver that stays while this one goes
TESTS='
vgem		vgem				vgem
vgem_syncobj	vgem				vgem		virtio_gpu
vgem_left	vgem				left		vkms
sched		dma_fence_sched			sched
vkms		vkms				out
vkms_writeback	vkms,enable_writeback=1		writeback
bochs		bochs				out
cirrus		cirrus_qemu			out
virtio		virtio_gpu			out
virtio_shown	virtio_gpu			shown
qxl_shown	qxl				shown
not_signalled	dma_fence_sched
'

SPLAT='cut here|WARNING: |BUG: |Oops|KASAN: |INFO: (possible|task|rcu|trying)|general protection'
SPLAT="$SPLAT|fences that need it|DEADLOCK|refcount_t:|DEBUG_LOCKS_WARN|Call Trace"

loaded() { [ -e "/sys/module/$1/initstate" ]; }

nodes() {
	for name in /sys/class/drm/card[0-9]*/dev /sys/class/drm/renderD*/dev; do
		[ ! -e "$name" ] || { name=${name%/dev}; echo "/dev/dri/${name##*/}"; }
	done
	[ ! -c /dev/dma_fence_sched ] || echo /dev/dma_fence_sched
}

# insert MODULE[,PARAMETER]...: sets node, the first that it has; or reason, and fails
insert() {
	module=${1%%,*}
	# shellcheck disable=SC2046
	set -- $(echo "$1" | tr , ' ')
	shift
	old=" $(nodes | tr '\n' ' ')"
	if [ -f "test_modules/$module.ko" ]; then
		modprobe gpu-sched
		insmod "test_modules/$module.ko" "$@"
	else
		modprobe "$module" "$@"
	fi 2>/dev/null || { reason="no $module"; return 1; }
	for node in $(nodes); do
		case $old in
		*" $node "*) ;;
		*) return 0 ;;
		esac
	done
	reason="$module has no device here"
	return 1
}

# begin NAME; messages: of the kernel, since then
begin() {
	mark="dma_fence selftest: $1 ($$)"
	echo "<6>$mark" >/dev/kmsg
}

messages() {
	dmesg | awk -v mark="$mark" 'on { print } index($0, mark) { on = 1 } END { exit !on }'
}

# one NAME DRIVER FENCE [DRIVER2]
one() {
	driver=${2%%,*}
	reason=
	if loaded "$driver" || { [ "${4-}" ] && loaded "$4"; }; then
		ktap_test_skip "$1: a driver of it is loaded already"
		return
	fi
	begin "$1"
	node2=
	if [ -z "${4-}" ] || insert "$4"; then
		node2=${4:+$node}
		insert "$2"
	fi
	rc=0
	# shellcheck disable=SC2086
	[ "$reason" ] || ./dma_fence_user $uses "$3" "$driver" "$node" ${node2:+"$node2"} \
		>"$tmp/out" 2>&1 || rc=$?
	for module in "$driver" ${4+"$4"}; do
		! loaded "$module" || rmmod "$module"
	done
	[ $rc -ne "$KSFT_SKIP" ] || reason=$(cat "$tmp/out")
	if [ "$reason" ]; then
		ktap_test_skip "$1: $reason"
		return
	fi
	if ! messages >"$tmp/messages"; then
		echo "FAIL: the kernel's log has lost the begin of this test" >>"$tmp/out"
		rc=1
	elif grep -qE "$SPLAT" "$tmp/messages"; then
		echo "FAIL: kernel messages" >>"$tmp/out"
		grep -E -m 1 -A 60 "$SPLAT" "$tmp/messages" >>"$tmp/out"
		rc=1
	fi
	sed 's/^/# /' "$tmp/out"
	if [ $rc -eq 0 ]; then
		ktap_test_pass "$1"
	else
		ktap_test_fail "$1"
	fi
}

# A driver that goes, and has not signalled all its fences, is found out.
not_signalled() {
	if ! grep -q ' dma_fence_debug_module$' /proc/kallsyms; then
		ktap_test_skip "$1: no CONFIG_DMA_FENCE_DEBUG"
		return
	fi
	reason=
	begin "$1"
	if loaded dma_fence_sched; then
		reason="dma_fence_sched is loaded already"
	else
		insert dma_fence_sched,leave=1
	fi
	if [ "$reason" ]; then
		ktap_test_skip "$1: $reason"
		return
	fi
	rmmod dma_fence_sched
	if messages | grep -q 'module dma_fence_sched goes, fences that need it: 1 '; then
		ktap_test_pass "$1"
	else
		ktap_test_fail "$1"
	fi
}

ktap_print_header
[ "$(id -u)" -eq 0 ] || { ktap_skip_all "must be run as root"; exit "$KSFT_SKIP"; }
modprobe drm || { ktap_skip_all "no module drm"; exit "$KSFT_SKIP"; }
tmp=$(mktemp -d) || exit "$KSFT_FAIL"
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
uses=
for use in ${DMA_FENCE_USES-}; do
	uses="$uses -u $use"
done
wanted=" ${DMA_FENCE_TESTS-} "
echo "$TESTS" | while read -r name rest; do
	[ -n "$name" ] || continue
	[ "$wanted" = "  " ] || case $wanted in
	*" $name "*) ;;
	*) continue ;;
	esac
	echo "$name $rest"
done >"$tmp/tests"
ktap_set_plan "$(wc -l <"$tmp/tests")"
while read -r name driver fence living; do
	if [ "$name" = not_signalled ]; then
		not_signalled "$name"
	else
		one "$name" "$driver" "$fence" ${living:+"$living"}
	fi </dev/null
done <"$tmp/tests"
ktap_finished
