# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the scripts in this directory share. Sourced, with bash, as the first
# thing; the script defines usage() first.
#
# Paths:	TOP, BUILD (this clone's results), LINUX (its kernel tree), PATCHES,
#		CACHE (shared by all clones), REPO (bare repository of the bases)

set -eu -o pipefail

# Nothing of the caller's build or of its git may leak into ours.
export LC_ALL=C
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES GNUMAKEFLAGS
unset ARCH CROSS_COMPILE LLVM KBUILD_OUTPUT KBUILD_EXTMOD KCFLAGS LOCALVERSION
unset KCONFIG_CONFIG INSTALL_MOD_PATH INSTALL_MOD_DIR INSTALL_MOD_STRIP
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_PREFIX GIT_COMMON_DIR
unset GIT_NAMESPACE GIT_CONFIG_COUNT GIT_CONFIG_PARAMETERS GIT_DIFF_OPTS
unset CDPATH
PATH=$PATH:/usr/sbin:/sbin
umask 022

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
BUILD=$TOP/build
# shellcheck disable=SC2034
LINUX=$BUILD/linux
PATCHES=$TOP/patches
# shellcheck disable=SC2034
TOOLS=$TOP/tools/drain
CACHE=${DRAIN_CACHE:-${XDG_CACHE_HOME:-${HOME:?is not set; set it, or DRAIN_CACHE}/.cache}/drm-drain}
# shellcheck disable=SC2034
REPO=$CACHE/kernel.git
ME=${0##*/}
# shellcheck disable=SC2034
JOBS=${DRAIN_JOBS:-$(nproc)}

# say TEXT: progress, with the seconds since this script started.
say()
{
	printf '[%s %3ds] %s\n' "$ME" "$SECONDS" "$*" >&2
}

# die TEXT...: what is wrong, and in further arguments (lines) what to do.
die()
{
	printf '%s: error: %s\n' "$ME" "$1" >&2
	shift
	[ $# -eq 0 ] || printf '    %s\n' "$@" >&2
	exit 1
}

have()
{
	command -v "$1" >/dev/null 2>&1
}

# need CMD...: refuse to start without these commands.
need()
{
	local c

	for c; do
		have "$c" || die "$c is not installed" "make setup installs what is missing (tools/drain/setup -h: --docs, --stacks, --cross)"
	done
}

# kgit: git on our own repositories, the same whatever the user's configuration. What is below
# build/ is never taken for a part of this repository.
kgit()
{
	GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_CEILING_DIRECTORIES=$BUILD \
		git -c safe.directory='*' -c gc.auto=0 -c maintenance.auto=false \
		-c advice.detachedHead=false -c core.hooksPath=/dev/null \
		-c commit.gpgSign=false "$@"
}


# lock NAME: one at a time among all clones, until unlock or the end of this script.
declare -A LOCKS=()
lock()
{
	local fd

	[ -z "${LOCKS[$1]-}" ] || return 0
	mkdir -p "$CACHE" 2>/dev/null || die "cannot create the cache directory $CACHE" \
		"set DRAIN_CACHE to a directory you can write to"
	exec {fd}>"$CACHE/lock.$1" || die "cannot write to the cache $CACHE" \
		"set DRAIN_CACHE to a directory you can write to"
	LOCKS[$1]=$fd
	flock -n "$fd" && return
	say "another run is using the cache ($1); waiting for it"
	until flock -w 30 "$fd"; do
		say "  ... still waiting for it"
	done
}

unlock()
{
	local fd=${LOCKS[$1]-}

	[ -n "$fd" ] || return 0
	exec {fd}>&-
	unset "LOCKS[$1]"
}

# need_space DIR GIB WHAT: DIR need not exist yet.
need_space()
{
	local dir=$1 kib

	while [ ! -d "$dir" ]; do
		dir=$(dirname "$dir")
	done
	kib=$(df -Pk "$dir" | awk 'NR == 2 { print $4 }')
	[ "$((kib / 1048576))" -ge "$2" ] ||
		die "$3 needs about $2 GiB in $1, which has $((kib / 1048576)) GiB free" \
			"free some space, or set DRAIN_CACHE (the shared cache) to a directory on a larger disk"
}

# progress_note: printed with the heartbeat of logged(); redefined by scripts.
progress_note()
{
	:
}

# logged LOG TEXT CMD...: run CMD with its output in LOG; say TEXT, a sign of
# life each 30 s, and on failure what the log says.
logged()
{
	local log=$1 text=$2 rc=0 hb t0=$SECONDS

	shift 2
	mkdir -p "$(dirname "$log")"
	say "$text"
	(
		for fd in ${LOCKS[@]+"${LOCKS[@]}"}; do
			exec {fd}>&-
		done
		exec {never}<> <(:)
		while kill -0 $$ 2>/dev/null; do
			read -r -t 30 -u "$never" || :
			kill -0 $$ 2>/dev/null || break
			say "  ... $((SECONDS - t0)) s $(progress_note)"
		done
	) </dev/null &
	hb=$!
	"$@" </dev/null >"$log" 2>&1 || rc=$?
	kill "$hb" 2>/dev/null || :
	wait "$hb" 2>/dev/null || :
	[ "$rc" -ne 0 ] || return 0
	say "failed (status $rc): $*"
	{
		grep -anE '(error|Error [0-9]+|fatal|undefined reference|^E):' "$log" | head -n 20 ||
			tail -n 20 "$log"
	} | sed 's/^/    /' >&2
	say "the whole log: $log"
	return "$rc"
}

# base_version: the version that patches/BASE asks for.
base_version()
{
	local v

	v=$(sed -n 's/^version=\([0-9][0-9]*\.[0-9][0-9]*\)$/\1/p' "$PATCHES/BASE" 2>/dev/null) || v=
	[ -n "$v" ] || die "patches/BASE has no line version=X.Y" "see git log patches/BASE"
	echo "$v"
}

# shellcheck disable=SC2034
# read_base: set BASE_COMMIT and BASE_ID to the base chosen for this clone.
read_base()
{
	BASE_COMMIT='' BASE_ID=''
	[ ! -f "$BUILD/base" ] || read -r BASE_COMMIT BASE_ID <"$BUILD/base" || :
	[ -n "$BASE_ID" ] || die "no base kernel has been fetched for this clone" "run: make setup"
}

# replace FILE: atomically, from standard input.
replace()
{
	cat >"$1.new.$$"
	mv -f "$1.new.$$" "$1"
}

# lock_tree: one at a time on this clone's kernel tree, until this script ends.
lock_tree()
{
	local fd

	mkdir -p "$BUILD"
	exec {fd}>"$BUILD/lock"
	LOCKS[tree]=$fd
	flock -n "$fd" && return
	say "another run is using build/linux; waiting for it"
	flock "$fd"
}

# parts: their names, in order. stands_on PART: the parts without which it does not apply.
parts()
{
	sed -n 's/^\([0-9][^|]*\)|.*/\1/p' "$PATCHES/PARTS"
}

stands_on()
{
	sed -n "s/^$1|\([^|]*\)|.*/\1/p" "$PATCHES/PARTS"
}

# series [PART]...: the patches of these parts, or of all, in order. patches_id: all that
# build/linux is made of.
series()
{
	local part

	for part in $([ $# -eq 0 ] && parts || echo "$*"); do
		[ ! -d "$PATCHES/$part" ] || find "$PATCHES/$part" -maxdepth 1 -name '[0-9]*.patch' | sort
	done
}

patches_id()
{
	{
		cat "$PATCHES/PARTS"
		series | sed "s,^$PATCHES/,,"
		series | xargs -r cat
	} | sha256sum | cut -c1-40
}

# part_ends: where the parts end in build/linux, in one word.
part_ends()
{
	local part

	for part in $(parts); do
		kgit -C "$LINUX" rev-parse -q --verify "refs/heads/$part" || echo "no $part"
	done | sha256sum | cut -c1-40
}

# What build/linux was when it last equalled patches/: "BASE HEAD PATCHES-ID PART-ENDS".
write_state()
{
	echo "$* $(part_ends)" | replace "$LINUX/.git/drain-state"
}

# tree_state: one word for build/linux as compared with patches/ and the base:
#	absent
#	busy		am, rebase or the like in progress, or not on branch drain
#	synced		equal
#	work		has commits or changes that patches/ has not, or parts end elsewhere
#	stale		patches/ or the base changed, and nothing here would be lost
#	diverged	patches/ or the base changed, and something here would be lost
tree_state()
{
	local base head id ends drain f work='' current=''

	[ -d "$LINUX/.git" ] || { echo absent; return; }
	for f in rebase-apply rebase-merge MERGE_HEAD CHERRY_PICK_HEAD REVERT_HEAD BISECT_LOG; do
		[ ! -e "$LINUX/.git/$f" ] || { echo busy; return; }
	done
	[ "$(kgit -C "$LINUX" symbolic-ref -q HEAD)" = refs/heads/drain ] || { echo busy; return; }
	base='' head='' id='' ends=''
	[ ! -f "$LINUX/.git/drain-state" ] || read -r base head id ends <"$LINUX/.git/drain-state"
	drain=$(kgit -C "$LINUX" rev-parse drain)
	[ "$drain" = "$head" ] || [ "$drain" = "$base" ] || work=1
	[ -z "$ends" ] || [ "$ends" = "$(part_ends)" ] || work=1
	[ -z "$(kgit -C "$LINUX" status --porcelain)" ] || work=1
	if [ "$base" = "$BASE_COMMIT" ] && [ "$id" = "$(patches_id)" ]; then
		current=1
	fi
	case $work,$current in
	1,1) echo work ;;
	1,) echo diverged ;;
	,1) if [ "$drain" = "$head" ]; then echo synced; else echo stale; fi ;;
	*) echo stale ;;
	esac
}

# am_patches COMMIT PATCH...: git am them on it; sets APPLIED to the resulting commit.
# This happens in a scratch worktree that has no files but those the patches
# touch, so nothing else changes, whatever happens. Committer and its date are
# those of the author: the same patches give the same commits everywhere.
am_patches()
{
	local wt=$BUILD/am log=$BUILD/results/am.log gitdir patch author last='' name email fd
	local -a group=()
	local sparse=(-c core.sparseCheckout=true -c core.sparseCheckoutCone=false)

	mkdir -p "$BUILD/results"
	: >"$log"
	APPLIED=$1
	[ $# -gt 1 ] || return 0
	exec {fd}>"$BUILD/lock.am"
	flock "$fd"
	rm -rf "$wt"
	kgit -C "$LINUX" worktree prune
	kgit -C "$LINUX" worktree add -q --no-checkout --detach "$wt" "$1"
	shift
	gitdir=$(kgit -C "$wt" rev-parse --absolute-git-dir)
	mkdir -p "$gitdir/info"
	echo /MAINTAINERS >"$gitdir/info/sparse-checkout"
	kgit -C "$wt" "${sparse[@]}" read-tree -m -u HEAD

	am_cleanup()
	{
		rm -rf "$wt"
		kgit -C "$LINUX" worktree prune
		exec {fd}>&-
	}
	am_group()
	{
		local failed

		[ ${#group[@]} -gt 0 ] || return 0
		if GIT_COMMITTER_NAME=${last%%|*} GIT_COMMITTER_EMAIL=${last#*|} \
		   kgit -C "$wt" "${sparse[@]}" am -q --no-3way --no-scissors --keep-non-patch \
			--committer-date-is-author-date --whitespace=nowarn \
			"${group[@]}" >>"$log" 2>&1; then
			group=()
			return 0
		fi
		failed=$(cat "$gitdir/rebase-apply/next" 2>/dev/null) || failed=0
		if [ "$failed" -gt 0 ]; then
			failed=${group[failed - 1]##*/}
			say "$failed does not apply to $BASE_ID:"
		else
			say "git am did not begin:"
		fi
		{ grep '^error: ' "$log" || tail -n 20 "$log"; } | sed 's/^/    /' >&2
		am_cleanup
		return 1
	}

	for patch; do
		name=$(kgit mailinfo /dev/null /dev/null <"$patch" 2>/dev/null) || name=
		email=$(sed -n 's/^Email: //p' <<<"$name")
		name=$(sed -n 's/^Author: //p' <<<"$name")
		author="$name|$email"
		if [ "$author" != "$last" ]; then
			am_group || return
		fi
		last=$author
		group+=("$patch")
	done
	am_group || return
	APPLIED=$(kgit -C "$wt" rev-parse HEAD)
	am_cleanup
}

# apply_series COMMIT [PART]...: apply these parts, or all, one on the other; sets SERIES to the
# resulting commit, and TIPS to "PART COMMIT" lines, with the last commit of each.
# shellcheck disable=SC2034
apply_series()
{
	local part
	local -a patches

	SERIES=$1 TIPS=''
	shift
	for part in $([ $# -eq 0 ] && parts || echo "$*"); do
		mapfile -t patches < <(series "$part")
		am_patches "$SERIES" ${patches[@]+"${patches[@]}"} || return
		SERIES=$APPLIED
		TIPS+="$part $SERIES"$'\n'
	done
}

# part_alone PART: apply it to what it stands on; sets STAND to the commit of the latter, and
# APPLIED to that of both.
# shellcheck disable=SC2034,SC2046
part_alone()
{
	local p
	local -a on=() patches=()

	parts | grep -qxF "$1" || die "there is no part $1" "parts: $(parts | xargs)"
	for p in $(stands_on "$1"); do
		on+=("$p")
	done
	mapfile -t patches < <([ ${#on[@]} -eq 0 ] || series "${on[@]}")
	am_patches "$BASE_COMMIT" ${patches[@]+"${patches[@]}"} || return
	STAND=$APPLIED
	mapfile -t patches < <(series "$1")
	am_patches "$STAND" ${patches[@]+"${patches[@]}"}
}
