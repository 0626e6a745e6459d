# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the tests of tools/drain/check share. Each of them is a file in tests/, sourced after
# common.sh, builder.sh and this. Results go to file descriptor 3, one line each, as in KTAP.

results=$BUILD/results/check
results_n=0

# result RESULT TEXT [REASON]: one line of KTAP; with a reason, it was skipped
result()
{
	results_n=$((results_n + 1))
	echo "$1 $results_n ${2//#/}${3+ # SKIP $3}" >&3
}

ok()
{
	result ok "$*"
}

not_ok()
{
	result "not ok" "$*"
	say "NOT OK: $*"
}

# skipped TEXT REASON
skipped()
{
	result ok "$1" "$2"
}

# try TEXT LOG CMD...: one result; on failure the end of what it printed.
try()
{
	local what=$1 log=$results/$2.log

	shift 2
	if "$@" </dev/null >"$log" 2>&1; then
		ok "$what"
	else
		tail -n 20 "$log" | sed 's/^/    /' >&2
		not_ok "$what; log: ${log#"$TOP"/}"
	fi
}

# silent CMD...: succeeds and says nothing
silent()
{
	local out

	out=$("$@" 2>&1) && [ -z "$out" ] && return
	printf '%s\n' "$out"
	return 1
}

# files PATTERN...: what the series adds or changes, by git pathspec
files()
{
	kgit -C "$LINUX" diff --name-only --diff-filter=d base drain -- "$@"
}

# touched_objects: sets objs to those in the builder tree that the series touches; a failure
# if these are too few to be true
touched_objects()
{
	local f

	objs=()
	while read -r f; do
		[ ! -f "$OBJ/${f%.c}.o" ] || objs+=("${f%.c}.o")
	done < <(files '*.c')
	[ ${#objs[@]} -ge 5 ] || not_ok "the series touches more than ${#objs[@]} objects"
	[ ${#objs[@]} -ge 5 ]
}

# turn N: a number below N, the next one with each commit of this repository
turn()
{
	local commits

	commits=$(kgit -C "$TOP" rev-list --count HEAD) || return
	echo $((commits % $1))
}

# one_of WORD...: all of them, if this is the only test; else one, and others with other commits
one_of()
{
	local words=("$@") n

	n=$(turn $#) || return
	[ -n "$DRAIN_ALONE" ] || words=("${words[n]}")
	echo "${words[*]}"
}

# build_guests: the kernels that the tests need, but for the one with faults
build_guests()
{
	"$TOOLS/build" && "$TOOLS/build" -p 2-core
}

# guest_kernels: built once, by the first test that needs them
guest_kernels()
{
	if [ -z "${DRAIN_BUILT-}" ]; then
		DRAIN_BUILT=1
		build_guests || DRAIN_BUILT=0
	fi
	[ "$DRAIN_BUILT" = 1 ] || not_ok "the guest kernels build"
	[ "$DRAIN_BUILT" = 1 ]
}

# judge_kunit LOG KERNEL-LOG: each case, by what kunit.py has printed; and the kernel
judge_kunit()
{
	local what name line ran

	# Some of DRM's own tests warn. In guests, they come after those of the series.
	sed -E 's/^\[ *[0-9.]+\] //' "$2" |
		awk '/^    # Subtest: / { suite = $3 } suite == "" || suite ~ /^(module_drain|drm_module)$/' >"$1.kernel"
	if line=$("$TOOLS/klog" "$1.kernel"); then
		ok "the kernel has nothing to report"
	else
		not_ok "the kernel reports: $(head -n 1 <<<"$line"); log: ${1#"$TOP"/}.kernel"
	fi
	for name in module_drain drm_module; do
		grep -aqF "[PASSED] $name " "$1" || not_ok "suite $name"
	done
	ran=$results_n
	while read -r what name; do
		case $what in
		'[PASSED]') ok "$name" ;;
		'[SKIPPED]') skipped "$name" "by itself" ;;
		*) not_ok "$name: $what" ;;
		esac
	done < <(sed -E 's/^\[[0-9:]+\] //; s/\x1b\[[0-9;]*m//g' "$1" | awk '
		/^=+ .* \([0-9]+ subtests?\) =+$/ { suite = $2 }
		/^=* *\[(PASSED|SKIPPED|FAILED|CRASHED|ERROR)\]/ && !/=$/ { what = $1; $1 = ""; print what, suite ":" $0 }')
	line=$(sed -n 's/.*Testing complete\. Ran \([0-9]*\) tests.*/\1/p' "$1" | tail -n 1)
	[ "$line" = $((results_n - ran)) ] ||
		not_ok "there is a result for each of ${line:-no} tests; log: ${1#"$TOP"/}"
}

# What kunit.py is asked for: the suites of the series, and all of DRM's
KUNIT=(--jobs="$JOBS" --make_options="CC=$CC" --kunitconfig=drivers/gpu/drm/tests
	--kunitconfig="$TOOLS/configs/kunit/suites.config")
# shellcheck disable=SC2034
KUNIT_ALL=(--kunitconfig="$TOOLS/configs/kunit/all.config")

# run_kunit NAME TEXT ARG...: both suites of the series and all of DRM's, unless
# the last argument is a pattern
run_kunit()
{
	local log=$results/$1.log name=$1 text=$2 rc=0

	shift 2
	copy_series
	use_tree patched "$PATCHED"
	logged "$log" "$text" env -C "$TREE" PATH="$TOOLS/tcg:$PATH" \
		/usr/bin/python3 tools/testing/kunit/kunit.py run --timeout=900 \
		--build_dir=".obj-$name" "${KUNIT[@]}" "$@" || rc=$?
	cp "$TREE/.obj-$name/test.log" "$results/$name.test.log" || :
	leave_tree patched
	[ $rc -eq 0 ] || not_ok "kunit.py; log: ${log#"$TOP"/}"
	judge_kunit "$log" "$results/$name.test.log"
}

# begin_matrix KERNEL ARG...: in the background; matrix_results KERNEL waits for it
declare -A matrices
begin_matrix()
{
	rm -rf "$BUILD/results/matrix-$1"
	"$TOOLS/matrix" -k "$@" &
	matrices[$1]=$!
}

matrix_results()
{
	local result driver test reason rc=0 dir=$BUILD/results/matrix-$1

	wait "${matrices[$1]}" || rc=$?
	while IFS=$'\t' read -r result driver test reason; do
		case $result in
		ok) ok "$1: $driver: $test" ;;
		SKIP | XFAIL) skipped "$1: $driver: $test" "$reason" ;;
		*) not_ok "$1: $driver: $test: $reason" ;;
		esac
	done < <(cat "$dir/results")
	[ $rc -eq 0 ] || grep -q ^FAIL "$dir/results" || not_ok "the selftests run on the $1 kernel"
}

# matrix KERNEL ARG...: the results of tools/drain/matrix
matrix()
{
	begin_matrix "$@"
	matrix_results "$1"
}
