# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# What the tests here have in common. They look at the kernel from outside: does
# rmmod wait, fail or return, is there a module, a device node, a warning.
#
# DRM_DRAIN_DRIVERS: the drivers to test. One that is loaded already, or that has
# no device here, is skipped. DRM_DRAIN_TESTS: only these tests.

SERIES=
DRM_DRAIN_DRIVERS=${DRM_DRAIN_DRIVERS:-drm_drain_driver vgem vkms bochs cirrus_qemu}
# As /sys/module has them
DRM_DRAIN_DRIVERS=$(echo "$DRM_DRAIN_DRIVERS" | tr - _)

HOLDER=/sys/module/drm_drain_holder/parameters
DEBUGFS=/sys/kernel/debug
CONFIGFS=/sys/kernel/config

cd "$(dirname "$0")" || exit
# shellcheck source=/dev/null
for helpers in ../kselftest/ktap_helpers.sh kselftest/ktap_helpers.sh; do
	[ ! -f $helpers ] || . $helpers
done

# For use in a test, which is a function in a subshell. A process takes 30 ms in a kernel
# with checks that is emulated, so what is done often is done without a program.
say() { echo "$*"; }
fail() { say "FAIL: $*"; exit "$KSFT_FAIL"; }
skip() { say "$*" >"$tmp/reason"; exit "$KSFT_SKIP"; }
need() { "$@" || fail "cannot: $*"; }

# soon COMMAND...: it succeeds, at the latest after as long as a busy machine may need
PAUSES='0.1 0.1 0.1 0.1 0.1 0.1 0.1 0.1 0.1 0.1 0.2 0.2 0.2 0.2 0.2
	0.5 0.5 0.5 0.5 0.5 0.5 0.5 0.5 0.5 0.5 0.5 0.5 0.5 0.5 0.5 0.5 1 1 1 1'
soon() {
	for pause in $PAUSES; do
		"$@" && return
		sleep "$pause"
	done
	"$@"
}

not() { ! "$@"; }

# Without reliable stack traces, nobody may sleep in a driver's text after the last put.
reliable_stacks() {
	has_function gate_look_stopped || skip "no reliable stack traces"
}

# has_function NAME: the kernel or drm.ko has this one, which is among those that are
# looked for. That takes long.
functions=
has_function() {
	[ "$functions" ] ||
		functions=$(grep -Fwo -e drm_module_drain -e drm_dev_refs_print \
			-e gate_look_stopped -e bpf_trampoline_link_prog /proc/kallsyms)
	listed "$1" "$functions"
}

loaded() { [ -e "/sys/module/$1/initstate" ]; }
references() { cat "/sys/module/$1/refcnt"; }

# is MODULE STATE: live, coming, or going; sets state, which is empty if it is not there
is() {
	state=
	read -r state <"/sys/module/$1/initstate"
	[ "$state" = "$2" ]
} 2>/dev/null

now_ms() {
	read -r up _ </proc/uptime
	echo $((${up%.*} * 1000 + (1${up#*.} - 100) * 10))
}

# Bits that say where a module comes from, or that it is a livepatch, do not count, nor
# does the one of a soft lockup: sw_sync sets it for every fence, and a lockup is found
# in the log.
taint() {
	# read would get no more than a digit of it.
	echo $(($(cat /proc/sys/kernel/tainted) & ~(4096 | 8192 | 16384 | 32768)))
}

# The kernel's messages since the test began
messages() { dmesg | awk -v mark="$mark" 'on { print } index($0, mark) { on = 1 }'; }
logged() { messages | grep -q -e "$@"; }

# insert MODULE [PARAMETER]...
insert() {
	module=$1
	shift
	if [ -f "test_modules/$module.ko" ]; then
		insmod "test_modules/$module.ko" "$@"
	else
		modprobe "$module" "$@"
	fi
}

# nodes: those of DRM devices and framebuffers, as card0
nodes() {
	for dir in /sys/class/drm/card*/dev /sys/class/drm/renderD*/dev \
		   /sys/class/graphics/fb*/dev; do
		dir=${dir%/dev}
		[ ! -d "$dir" ] || echo "${dir##*/}"
	done
}

# new_nodes OLD: those that are not in the list
new_nodes() {
	for dir in $(nodes); do
		listed "$dir" "$1" || echo "$dir"
	done
}

# load DRIVER [PARAMETER]...: sets node (the first one it has), card (the one for
# modesetting), render, fb and parent, the device in sysfs; and old_nodes, others' nodes
load() {
	old_nodes=$(nodes)
	insert "$@" || {
		case $1 in
		drm_drain_*) fail "$1 does not load" ;;
		vgem | vkms) modinfo "$1" >/dev/null 2>&1 && fail "$1 does not load" ;;
		esac
		skip "$1 is not there, or does not load"
	}
	node='' card='' render='' fb=''
	for name in $(new_nodes "$old_nodes"); do
		case $name in
		card*) card=${card:-/dev/dri/$name} ;;
		renderD*) render=${render:-/dev/dri/$name} ;;
		*) fb=${fb:-/dev/$name} ;;
		esac
	done
	node=${card:-$render}
	if [ -z "$node" ]; then
		rmmod "$1"
		case $1 in
		drm_drain_* | vgem | vkms) fail "$1 has not made its device" ;;
		esac
		skip "$1 has no device here"
	fi
	# shellcheck disable=SC2034
	parent=$(readlink -f "/sys/class/drm/${node##*/}/device")
	[ -c "$node" ] || fail "there is no $node"
}

# find_device DRIVER: sets device, the one in sysfs that the driver is bound to
find_device() {
	device=
	# Some devices have their DRM device below the one that they sit on.
	for dir in "$parent" "$parent"/*; do
		[ -e "$dir/driver/module" ] || continue
		module=$(readlink "$dir/driver/module")
		[ "${module##*/}" != "$1" ] || device=$dir
	done
	[ -e "$device/driver/unbind" ] || lacks unbind
}

# at_once COMMAND...: it is not waited for any longer than a busy machine may need
at_once() {
	"$@" &
	pid=$!
	soon test ! -d "/proc/$pid" || fail "$* does not return"
	wait $pid
}

# works DRIVER [NODE]: nothing has become of what refused to be unloaded
works() {
	loaded "$1" || fail "$1 is gone"
	is "$1" live || fail "$1 is $state"
	./drm_drain_user version "${2:-$node}" >"$tmp/version" ||
		fail "the device does not work anymore"
}

# What a module in use does
refuses() {
	at_once rmmod "$1" 2>/dev/null && fail "$1 could be unloaded"
	works "$@"
}

# refuses_itself DRIVER COMMAND NODE...: rmmod and the process that has it are one
refuses_itself() {
	at_once ./drm_drain_user -d "$@" 2>"$tmp/error" ||
		fail "with $2 by the process itself: $(cat "$tmp/error")"
	works "$1"
}

# refuses_heir DRIVER COMMAND NODE...: only rmmod has the files
refuses_heir() {
	at_once ./drm_drain_user -x "$@" 2>"$tmp/error"
	status=$?
	[ $status -ne 0 ] || fail "$1 could be unloaded by a process with the files of $2"
	if [ $status -ne 1 ] || ! grep -q '^rmmod: ' "$tmp/error"; then
		fail "$2: $(cat "$tmp/error")"
	fi
	works "$1"
}

# held DRIVER COMMAND NODE...: until it is let go, the driver cannot be unloaded, whoever
# wants that
held() {
	held_driver=$1
	shift
	keeping "$@"
	refuses "$held_driver"
	let_go "$keeper"
	refuses_itself "$held_driver" "$@"
	refuses_heir "$held_driver" "$@"
	unload "$held_driver"
	reload "$held_driver"
}

# held_mapping DRIVER COMMAND NODE...: as what no process inherits
held_mapping() {
	held_driver=$1
	shift
	keeping "$@"
	refuses "$held_driver"
	let_go "$keeper"
	refuses_itself "$held_driver" "$@"
	unload "$held_driver"
	reload "$held_driver"
}

# What these drivers do not have, as DRIVER:FEATURE. A feature is a command of
# drm_drain_user, or card, fb, render (device nodes), configfs, unbind, new_id (in sysfs). If one
# of them lacks anything else, then something is wrong with it, and the test fails.
KNOWN='drm_drain_driver drm_drain_aux drm_drain_sound vgem vkms virtio_gpu bochs qxl cirrus_qemu
	simpledrm vesadrm'
LACKING='
	drm_drain_driver:fb drm_drain_driver:mmap drm_drain_driver:export drm_drain_driver:mapbuf
	drm_drain_driver:import drm_drain_driver:lease drm_drain_driver:flip
	drm_drain_driver:syncobj drm_drain_driver:fence drm_drain_driver:outfence
	drm_drain_driver:infence drm_drain_driver:closing drm_drain_driver:configfs
	drm_drain_driver:unbind drm_drain_driver:new_id
	vgem:fb vgem:lease vgem:flip vgem:syncobj vgem:outfence vgem:infence vgem:closing
	vgem:configfs vgem:unbind
	vkms:render vkms:syncobj vkms:fence vkms:unbind
	virtio_gpu:import virtio_gpu:fence virtio_gpu:new_id virtio_gpu:configfs
	bochs:render bochs:syncobj bochs:fence bochs:configfs
	qxl:render qxl:import qxl:syncobj qxl:fence qxl:configfs
	cirrus_qemu:render cirrus_qemu:syncobj cirrus_qemu:fence cirrus_qemu:configfs
	simpledrm:render simpledrm:syncobj simpledrm:fence simpledrm:new_id simpledrm:configfs
	vesadrm:render vesadrm:syncobj vesadrm:fence vesadrm:new_id vesadrm:configfs
'

# listed WORD LIST
listed() {
	for word in $2; do
		[ "$word" != "$1" ] || return 0
	done
	return 1
}

# lacks FEATURE [REASON]
lacks() {
	! loaded "$driver" || rmmod "$driver" 2>/dev/null
	if listed "$driver" "$KNOWN" && ! listed "$driver:$1" "$LACKING"; then
		fail "$driver should have $1${2+: $2}"
	fi
	skip "$driver has no $1${2+ ($2)}"
}

# has FEATURE VALUE
has() { [ "$2" ] || lacks "$1"; }

# What waits for ever is not waited for.
unload() {
	rmmod "$1" &
	rmmod_pid=$!
	for _ in 1 2 3 4 5 6; do
		soon test ! -d "/proc/$rmmod_pid" && break
	done
	[ ! -d "/proc/$rmmod_pid" ] || fail "rmmod $1 does not return"
	wait $rmmod_pid || fail "rmmod $1 failed"
	loaded "$1" && fail "$1 is still there"
	[ ! -e "$node" ] || fail "$node is still there"
}

# The module is gone without a trace if it can be loaded again, and has a device.
reload() {
	(load "$1") || fail "$1 does not load again: $(cat "$tmp/reason")"
	need rmmod "$1"
}

# hold: a reference without a file
hold() {
	loaded drm_drain_holder || need insert drm_drain_holder
	command exec 3<"$node" || fail "cannot open $node"
	echo 3 >$HOLDER/hold || fail "cannot hold $node"
	exec 3<&-
}

# is_idle PID: it has no spaces in its name
is_idle() { read -r _ _ how _ <"/proc/$1/stat" && [ "$how" = I ]; }

# waits PID DRIVER: rmmod, process PID, waits for the DRM devices of the driver
waits() {
	for pause in $PAUSES; do
		[ -d "/proc/$1" ] || fail "rmmod $2 has not waited"
		is "$2" going && is_idle "$1" &&
			grep -qE 'module_drain_(wait|gate)' "/proc/$1/stack" && return
		sleep "$pause"
	done 2>/dev/null
	fail "rmmod $2 does not wait: module $state, $(grep State: "/proc/$1/status")," \
		"stack: $(cat "/proc/$1/stack")"
}

# finishes PID DRIVER: rmmod, which has waited, returns, and the driver is gone
finishes() {
	wait "$1" || fail "rmmod $2 failed"
	loaded "$2" && fail "$2 is still there"
	[ ! -e "$node" ] || fail "$node is still there"
	logged 'DRM devices behind' && fail "the driver's exit does not wait"
	return 0
}

# keeping COMMAND NODE...: have a process that keeps something of the device; sets keeper
keeping() {
	keeper=$(./drm_drain_user "$@" 2>"$tmp/error") || {
		[ $? -ne "$KSFT_SKIP" ] || lacks "$1" "$(cat "$tmp/error")"
		fail "$*: $(cat "$tmp/error")"
	}
	say "$keeper" >>"$tmp/keepers"
}

# keeping_fault COMMAND ARGUMENT: one with threads that sleep below a fault on user memory
keeping_fault() {
	keeper=$(./drm_drain_fault "$@" 2>"$tmp/error") || {
		[ $? -ne "$KSFT_SKIP" ] || skip "$(cat "$tmp/error")"
		fail "$*: $(cat "$tmp/error")"
	}
	say "$keeper" >>"$tmp/keepers"
}

# has_ended PID: the process is a child of its own, which nobody can wait for.
has_ended() {
	how=
	{ read -r _ _ how _ <"/proc/$1/stat"; } 2>/dev/null
	[ "${how:-Z}" = Z ]
}

let_go() {
	kill "$1" || fail "process $1 is gone"
	soon has_ended "$1" || fail "process $1 does not end"
}

SPLAT='cut here|WARNING: |BUG: |Oops|KASAN: |INFO: (possible|task|rcu|trying)|general protection'
SPLAT="$SPLAT|Disabling lock debugging|DEADLOCK|refcount_t:|DEBUG_LOCKS_WARN|Call Trace"

# one TEST DRIVER
one() {
	# shellcheck disable=SC2086
	title="$(IFS=_; echo $1): $2"
	driver=$2
	mark="drm_drain selftest: $title ($$-$KTAP_TESTNO)"
	: >"$tmp/reason"
	: >"$tmp/keepers"
	case " $loaded_before " in
	*" $driver "*)
		ktap_test_skip "$title: it is loaded already"
		return
		;;
	esac
	if loaded "$driver"; then
		ktap_print_msg "another test left $driver behind"
		ktap_test_fail "$title"
		return
	fi

	echo "<6>$mark" >/dev/kmsg
	(trap 'exit 1' HUP INT TERM; "$1" "$2") >"$tmp/out" 2>&1
	rc=$?

	# Whatever became of it, the next test shall not suffer.
	if [ -s "$tmp/keepers" ]; then
		xargs kill <"$tmp/keepers" 2>/dev/null
	fi
	if loaded drm_drain_holder; then
		echo worker >$HOLDER/put_from
		echo 0 >$HOLDER/release_ms
		if echo 0 >$HOLDER/put; then
			sleep 1
		fi 2>/dev/null
	fi
	for module in drm_drain_card drm_drain_below "$driver" vgem vkms drm_drain_gpuvm; do
		case " $loaded_before " in
		*" $module "*) continue ;;
		esac
		loaded "$module" || [ $rc -eq 1 ] || continue
		[ $rc -ne 0 ] || say "FAIL: $module is still there" >>"$tmp/out"
		[ $rc -ne 0 ] || rc=1
		# In the background, as this may be what never ends
		for pause in $PAUSES; do
			! is "$module" live || { rmmod "$module" 2>/dev/null & }
			sleep "$pause"
			# A module that has left sysfs may still be there for insmod.
			grep -q "^$module " /proc/modules || break
		done
	done

	echo "<6>$mark ends" >/dev/kmsg
	messages >"$tmp/messages"
	tainted=$(taint)
	if ! grep -qF "$mark ends" "$tmp/messages"; then
		say "FAIL: the kernel log has overrun, there may have been warnings" >>"$tmp/out"
		rc=1
	elif grep -qE "$SPLAT" "$tmp/messages"; then
		say "FAIL: kernel messages" >>"$tmp/out"
		grep -E -m 1 -A 60 "$SPLAT" "$tmp/messages" >>"$tmp/out"
		rc=1
	elif [ "$tainted" -ne "$taint" ]; then
		say "FAIL: taint was $taint, is $tainted" >>"$tmp/out"
		rc=1
	fi
	taint=$tainted

	[ ! -s "$tmp/out" ] || sed 's/^/# /' "$tmp/out"
	case $rc in
	0) ktap_test_pass "$title" ;;
	"$KSFT_SKIP") ktap_test_skip "$title: $(cat "$tmp/reason")" ;;
	*) ktap_test_fail "$title" ;;
	esac
}

# run DRIVERS TEST...: all tests with all drivers. Scripts with SERIES=y are not for kernels
# without drm_module_drain(); the others pass there as well.
run() {
	drivers=$1
	shift
	ktap_print_header
	[ "$(id -u)" -eq 0 ] || { ktap_skip_all "must be run as root"; exit "$KSFT_SKIP"; }
	modprobe drm || { ktap_skip_all "no module drm"; exit "$KSFT_SKIP"; }
	[ -z "$SERIES" ] || has_function drm_module_drain || {
		ktap_skip_all "this kernel does not have drm_module_drain()"
		exit "$KSFT_SKIP"
	}
	for m in drm_drain_driver drm_drain_holder; do
		[ -f test_modules/$m.ko ] || {
			ktap_skip_all "no test_modules/$m.ko"
			exit "$KSFT_SKIP"
		}
	done
	[ -d $DEBUGFS/dri ] || mount -t debugfs none $DEBUGFS
	grep -q " $CONFIGFS configfs " /proc/mounts || mount -t configfs none $CONFIGFS 2>/dev/null
	tmp=$(mktemp -d) || exit "$KSFT_FAIL"
	trap 'rm -rf "$tmp"' EXIT
	trap 'exit 1' HUP INT TERM
	loaded_before=$(awk '{ printf "%s ", $1 }' /proc/modules)
	taint=$(taint)

	# shellcheck disable=SC2086
	[ -z "${DRM_DRAIN_TESTS-}" ] || set -- $DRM_DRAIN_TESTS
	# shellcheck disable=SC2086
	ktap_set_plan $(($# * $(echo $drivers | wc -w)))
	for driver in $drivers; do
		for test; do
			one "$test" "$driver"
		done
	done
	loaded drm_drain_holder && rmmod drm_drain_holder
	[ "$KTAP_CNT_PASS" -gt 0 ] || [ "$KTAP_CNT_FAIL" -gt 0 ] || {
		ktap_print_totals
		exit "$KSFT_SKIP"
	}
	ktap_finished
}
