#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# A task sleeps in the driver's text after the last reference has been dropped, and
# its stack is hard to read: below a fault on user memory, where a kretprobe or the
# function graph tracer has replaced the return address, and below the trampoline of a BPF
# program; or one that has never been in the text has such a stack. Only for the test
# driver.

# shellcheck source=tools/testing/selftests/drm_drain/functions.sh
. "$(dirname "$0")/functions.sh"

# shellcheck disable=SC2034
SERIES=y
TRACING=/sys/kernel/tracing
TASKS=${DRM_DRAIN_TASKS:-1000}
# Longer than it takes to the first report, after 10 s
HOLD_S=14

# A report has the stack of the task.
SPLAT=${SPLAT%|Call Trace}

# What the tail sleeps in: the first or, when it waits for user memory, the other one
HOOKED='schedule_timeout_idle strndup_user'

# address DRIVER SECTION: where it begins
address() { cat "/sys/module/$1/sections/$2"; }

hooked=

# What hook() has done
unhook() {
	case " $hooked " in
	*" kretprobe "*)
		echo 0 >$TRACING/events/kprobes/enable
		echo >$TRACING/kprobe_events
		;;
	esac
	case " $hooked " in
	*" function_graph "*)
		echo nop >$TRACING/current_tracer
		echo >$TRACING/set_ftrace_filter
		;;
	esac
} 2>/dev/null

hook() {
	[ -e $TRACING/trace ] || mount -t tracefs none $TRACING 2>/dev/null
	case $1 in
	kretprobe)
		[ -e $TRACING/kprobe_events ] || skip "no kretprobes"
		[ -z "$(cat $TRACING/kprobe_events)" ] || skip "there are kprobes already"
		hooked="$hooked kretprobe"
		trap unhook EXIT
		for function in $HOOKED; do
			echo "r:drm_drain_$function $function" >>$TRACING/kprobe_events ||
				fail "no kretprobe at $function()"
		done
		need tee $TRACING/events/kprobes/enable <<-EOF >/dev/null
		1
		EOF
		;;
	function_graph)
		grep -qw function_graph $TRACING/available_tracers 2>/dev/null ||
			skip "no function graph tracer"
		[ "$(cat $TRACING/current_tracer)" = nop ] || skip "a tracer is in use"
		grep -q '^####' $TRACING/set_ftrace_filter || skip "functions are traced already"
		hooked="$hooked function_graph"
		trap unhook EXIT
		for function in $HOOKED; do
			echo "$function" >>$TRACING/set_ftrace_filter ||
				fail "cannot trace $function()"
		done
		need tee $TRACING/current_tracer <<-EOF >/dev/null
		function_graph
		EOF
		;;
	bpf)
		has_function bpf_trampoline_link_prog || skip "no BPF trampolines"
		# shellcheck disable=SC2086
		bpf=$(./drm_drain_bpf $HOOKED 2>"$tmp/error") || {
			[ $? -ne "$KSFT_SKIP" ] || skip "no BTF ($(cat "$tmp/error"))"
			fail "no BPF program at $HOOKED: $(cat "$tmp/error")"
		}
		say "$bpf" >>"$tmp/keepers"
		;;
	esac
}

# The processes that sleep in a fault; the threads of drm_drain_fault are not seen here.
in_fault() {
	for dir in /proc/[0-9]*; do
		read -r wchan <"$dir/wchan"
		[ "$wchan" != handle_userfault ] || cat "$dir/comm"
	done
} 2>/dev/null

# stays DRIVER: rmmod of it, while the tail is in its text
stays() {
	began=$(now_ms)
	rmmod "$1" &
	pid=$!
	soon is "$1" going
	start=$(now_ms)
	while [ $(($(now_ms) - start)) -lt $((HOLD_S * 1000)) ]; do
		if [ ! -d /proc/$pid ] || ! is "$1" going; then
			# A tail that sleeps for a time is over early where all else is slow.
			logged 'worker returns' && return
			fail "rmmod has not waited, $1 is ${state:-gone}"
		fi
		sleep 0.5
	done
}

# leaves DRIVER: the tail has left, or is about to
leaves() {
	start=$(now_ms)
	wait "$pid" || fail "rmmod failed"
	took=$(($(now_ms) - start))
	took_all=$(($(now_ms) - began))
	say "rmmod ended after $took ms"
	loaded "$1" && fail "$1 is still there"
	[ $took -lt 3000 ] || fail "rmmod took $took ms after the tail had left"
	# Whoever has only seemed to be outside is about to fall.
	sleep 1
	messages | grep 'has waited for'
	reports=$(messages | grep -c 'has waited for')
	most=0
	while [ $((10000 << most)) -le $took_all ]; do
		most=$((most + 1))
	done
	if [ "$reports" -lt $((HOLD_S > 10)) ] || [ "$reports" -gt $most ]; then
		fail "$reports reports in $took_all ms"
	fi
	reload "$1"
}

# stays_and_leaves DRIVER HOOK SLEEPS
stays_and_leaves() {
	reliable_stacks
	hook "$2"
	load "$1" worker_ms=0 tail_ms=$((HOLD_S * 1000 + 1000)) tail_sleeps="$3"
	stays "$1"
	sleep 1
	leaves "$1"
	logged 'worker returns' || fail "the worker has not returned"
	[ "$2" != bpf ] || let_go "$bpf"
}

# faulting DRIVER [HOOK]
faulting() {
	reliable_stacks
	hook "${2-}"
	load "$1" worker_ms=0
	keeping_fault param "/sys/module/$1/parameters/tail_user"
	stays "$1"
	in_fault | grep -q '^kworker' || fail "the worker is not in a fault"
	let_go "$keeper"
	leaves "$1"
	logged 'worker returns' || fail "the worker has not returned"
}

tail_asleep() {
	stays_and_leaves "$1" - 1
	messages | grep -A 1 'has waited for 10 s' | grep -q 'kworker/.* is in its text' ||
		fail "the report does not say so"
}
tail_asleep_below_a_kretprobe() { stays_and_leaves "$1" kretprobe 1; }
tail_asleep_below_a_bpf_trampoline() { stays_and_leaves "$1" bpf 1; }
tail_asleep_below_the_graph_tracer() { stays_and_leaves "$1" function_graph 1; }

# What runs is called by the driver, or by what the driver calls. It has a processor
# meanwhile, so only one is there for so long that it is reported.
tail_running() {
	HOLD_S=4
	stays_and_leaves "$1" "$2" 0
}

tail_running_below_a_kretprobe() {
	HOOKED=get_random_bytes
	tail_running "$1" kretprobe
}

tail_running_further_below_a_kretprobe() {
	HOOKED=chacha_block_generic
	tail_running "$1" kretprobe
}

# Only the graph tracer knows who has called what the driver calls.
tail_running_below_both() {
	HOOKED=get_random_bytes
	hook function_graph
	HOOKED=chacha_block_generic
	stays_and_leaves "$1" kretprobe 0
	messages | grep -A 1 'has waited for 10 s' | grep -q 'kworker/.* in its text' ||
		fail "the report does not name the task"
}

tail_running_below_a_bpf_trampoline() {
	HOOKED=get_random_bytes
	tail_running "$1" bpf
}

tail_in_a_fault() { faulting "$1"; }
tail_in_a_fault_below_a_kretprobe() { faulting "$1" kretprobe; }
tail_in_a_fault_below_the_graph_tracer() { faulting "$1" function_graph; }

tail_in_a_fault_among_others() {
	keeping_fault tasks "$TASKS"
	others=$keeper
	tail_in_a_fault "$1"
	let_go "$others"
}

# Not a worker, but a task of user space
parameter_in_a_fault() {
	reliable_stacks
	load "$1"
	keeping_fault param "/sys/module/$1/parameters/fault"
	stays "$1"
	let_go "$keeper"
	leaves "$1"
	logged 'drm_drain_fault:[0-9]* .* in its text' || fail "the report does not name the task"
}

# runs COMMAND ADDRESS: a task that has nothing to do with the driver, and does not sleep,
# below a kretprobe
runs() {
	./drm_drain_user "$1" "$2" &
	runner=$!
	# shellcheck disable=SC2064
	trap "kill $runner; unhook" EXIT
	sleep 1
}

# has_run: it has, and was below it
has_run() {
	[ -d "/proc/$runner" ] || fail "nothing runs anymore"
	for _ in $(seq 600); do
		! grep -q "drm_drain_$HOOKED" $TRACING/trace || return 0
		sleep 0.1
	done
	fail "nothing returns to the kretprobe"
}

runner_below_a_kretprobe() {
	reliable_stacks
	HOOKED=urandom_read_iter
	hook kretprobe
	load "$1"
	runs running "$(address "$1" .text)"
	unload "$1"
	has_run
	logged 'has waited for' && fail "a wait was reported"
	reload "$1"
}

# It has a higher number than the task that is in the text for a while.
runner_after_a_tail() {
	reliable_stacks
	HOOKED=urandom_read_iter
	hook kretprobe
	load "$1" worker_ms=0 tail_ms=8000 tail_sleeps=1
	rmmod "$1" &
	rmmod_pid=$!
	waits $rmmod_pid "$1"
	runs running "$(address "$1" .text)"
	logged 'worker returns' && fail "the worker has returned too early"
	for _ in $(seq 300); do
		[ -d /proc/$rmmod_pid ] || break
		sleep 0.1
	done
	[ ! -d /proc/$rmmod_pid ] || fail "rmmod does not return"
	finishes $rmmod_pid "$1"
	has_run
	reload "$1"
}

# What user space has given to poll() is on its stack, and does not matter.
sleeper_with_addresses_of_text() {
	load "$1"
	./drm_drain_user asleep "$(address "$1" .text)" &
	sleeper=$!
	# shellcheck disable=SC2064
	trap "kill $sleeper" EXIT
	sleep 0.5
	[ -d /proc/$sleeper ] || fail "nothing sleeps"
	unload "$1"
	logged 'has waited for' && fail "a wait was reported"
	reload "$1"
}

# Nor does it where the stack cannot be read, if it is not in the text.
runner_with_addresses_of_data() {
	reliable_stacks
	HOOKED=process_vm_rw
	hook kretprobe
	load "$1"
	runs copying "$(address "$1" .data)"
	start=$(now_ms)
	unload "$1"
	took=$(($(now_ms) - start))
	[ $took -lt 8000 ] || fail "rmmod took $took ms"
	has_run
	reload "$1"
}

run drm_drain_driver tail_asleep tail_asleep_below_a_kretprobe \
	tail_asleep_below_the_graph_tracer tail_asleep_below_a_bpf_trampoline \
	tail_running_below_a_kretprobe tail_running_further_below_a_kretprobe \
	tail_running_below_both tail_running_below_a_bpf_trampoline \
	tail_in_a_fault tail_in_a_fault_below_a_kretprobe \
	tail_in_a_fault_below_the_graph_tracer tail_in_a_fault_among_others parameter_in_a_fault \
	runner_below_a_kretprobe runner_after_a_tail sleeper_with_addresses_of_text \
	runner_with_addresses_of_data
