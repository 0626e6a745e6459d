# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The trees in which kernels are built: worktrees of the cache's repository, so
# that every clone shares their objects:
#	$CACHE/<base>/{stock,patched}/.obj-<config>-<key>
# The object directory lies directly in its tree: kbuild then names sources by
# relative paths, and ccache finds stock objects for the patched kernel.
#
# Sourced after common.sh.

CONFIGS=${DRAIN_CONFIGS:-guest debug drm}

# What differs between architectures: the compiler's prefix, and what to build.
GUEST_ARCH=${DRAIN_ARCH:-x86_64}
# shellcheck disable=SC2034
case $GUEST_ARCH in
x86_64) CROSS='' IMAGE=arch/x86/boot/bzImage ;;
arm64) CROSS=aarch64-linux-gnu- IMAGE=arch/arm64/boot/Image ;;
*) die "DRAIN_ARCH=$GUEST_ARCH is none of x86_64, arm64" ;;
esac

# The same kernel from the same sources, whoever builds it and when.
export KBUILD_BUILD_TIMESTAMP='2026-01-01 00:00:00 +0000'
export KBUILD_BUILD_USER=drain KBUILD_BUILD_HOST=drain KBUILD_BUILD_VERSION=1
export LOCALVERSION=
export CCACHE_NOHASHDIR=true
# Not CCACHE_DEPEND: ccache then takes no notice of .incbin, by which the kernel gets into its image.
unset CCACHE_DEPEND
if [ -z "${CC-}" ]; then
	CC=${CROSS}gcc
	! have ccache || CC="ccache $CC"
fi

# fragments WHAT: the files, in order.
fragments()
{
	local c configs=$CONFIGS

	[ "$1" = stock ] || [ "${DRAIN_CONFIGS-}" ] || configs+=' kunit'
	for c in ${configs/#guest/guest $GUEST_ARCH}; do
		[ -f "$TOOLS/configs/$c.config" ] || die "there is no tools/drain/configs/$c.config" \
			"names: $(cd "$TOOLS/configs" && echo *.config)"
		echo "$TOOLS/configs/$c.config"
	done
}

# paths WHAT: set TREE, OBJ and OUT.
paths()
{
	local key files

	files=$(fragments "$1")
	# shellcheck disable=SC2086
	key=$({ cat $files "$TOOLS/configs/Kconfig"; echo "$GUEST_ARCH"; $CC --version | head -n 1; } | sha256sum | cut -c1-8) ||
		die "cannot run the compiler: $CC" "make setup installs gcc; or set CC"
	TREE=$CACHE/$BASE_ID/$1
	OBJ=$TREE/.obj-${CONFIGS// /-}-$key
	# shellcheck disable=SC2034
	OUT=$BUILD/${OUTNAME:-$1}
}

# snapshot: commit what build/linux holds now, if it is not to be DRAIN_COMMIT; prints the
# commit.
snapshot()
(
	cd "$LINUX" || exit
	if [ "${DRAIN_COMMIT-}" ]; then
		kgit rev-parse --verify "$DRAIN_COMMIT^{commit}"
		exit
	fi
	if [ -z "$(kgit status --porcelain)" ]; then
		kgit rev-parse HEAD
		exit
	fi
	say "build/linux has uncommitted changes: they are built too"
	index=$(mktemp .git/index.drain.XXXXXX)
	trap 'rm -f "$index"' EXIT
	cp .git/index "$index"
	export GIT_INDEX_FILE=$PWD/$index
	kgit add -A .
	export GIT_AUTHOR_NAME=snapshot GIT_AUTHOR_EMAIL=snapshot@localhost.invalid
	export GIT_COMMITTER_NAME=snapshot GIT_COMMITTER_EMAIL=snapshot@localhost.invalid
	export GIT_AUTHOR_DATE='1767225600 +0000' GIT_COMMITTER_DATE='1767225600 +0000'
	kgit commit-tree -p HEAD -m 'uncommitted changes' "$(kgit write-tree)"
)

# checkout TREE COMMIT: make the builder tree equal to the commit; files that
# do not differ are not touched.
checkout()
{
	if [ ! -e "$1/.git" ] || ! kgit -C "$1" rev-parse -q --verify HEAD >/dev/null 2>&1; then
		rm -rf "$1"
		kgit -C "$REPO" worktree prune
		kgit -C "$REPO" worktree add -q --no-checkout --detach "$1" "$2" || return
	fi
	# Nobody else is at work here: a lock is what an interrupted run left.
	rm -f "$(kgit -C "$1" rev-parse --absolute-git-dir)/index.lock"
	kgit -C "$1" update-ref --no-deref HEAD "$2" &&
		kgit -C "$1" reset -q --hard &&
		kgit -C "$1" clean -q -d -f
}

KVARS=(ARCH="$GUEST_ARCH" CROSS_COMPILE="$CROSS" CC="$CC" KBUILD_KCONFIG=.Kconfig)
kmake()
{
	make -C "$TREE" O="$OBJ" "${KVARS[@]}" "$@"
}

# refused FRAGMENT...: what was asked for last, of each option, and is not in the configuration.
# OPTIONAL are what may not be there.
refused()
{
	cat "$@" "$OBJ/.config" | awk -v optional="${OPTIONAL-}" '
		/^CONFIG_[A-Z0-9_a-z]*=/ { o = $0; sub(/=.*/, "", o); v = substr($0, length(o) + 2) }
		/^# CONFIG_[A-Za-z0-9_]* is not set$/ { o = $2; v = "n" }
		/^# Automatically generated file/ { result = 1 }
		/^(# )?CONFIG_/ { if (result) got[o] = v; else want[o] = v }
		END {
			for (o in want)
				if (want[o] != (o in got ? got[o] : "n") && !index(optional, " " o " "))
					printf " %s=%s", o, want[o]
		}'
}

configure()	# FRAGMENT...
{
	local missing

	cat "$TREE/Kconfig" "$TOOLS/configs/Kconfig" >"$OBJ/.Kconfig" &&
	kmake -s tinyconfig &&
	"$TREE/scripts/kconfig/merge_config.sh" -m -O "$OBJ" "$OBJ/.config" "$@" &&
	kmake -s olddefconfig &&
	# Without the last, what the compiler includes is of what was configured before.
	kmake -s syncconfig || return
	missing=$(refused "$@")
	[ -z "$missing" ] || {
		echo "error: kconfig did not accept:$missing"
		return 1
	}
}

# configured WHAT COMMIT: configure unless that was done; twelve seconds that are
# only spent when Kconfig can have changed.
configured()
{
	local kconfig frags

	mkdir -p "$OBJ"
	kconfig=$({ kgit -C "$REPO" ls-tree -r "$2" | grep -E 'Kconfig|scripts/|configs/'; declare -f configure; } |
		sha256sum)
	[ "$(cat "$OBJ/.configured" 2>/dev/null)" != "$kconfig" ] || return 0
	mapfile -t frags < <(fragments "$1")
	# Not all parts have all options.
	OPTIONAL=' '
	kgit -C "$REPO" cat-file -e "$2:lib/tests/module_drain_kunit.c" 2>/dev/null ||
		OPTIONAL+='CONFIG_MODULE_DRAIN_KUNIT_TEST '
	kgit -C "$REPO" cat-file -e "$2:tools/testing/selftests/dma_fence" 2>/dev/null ||
		OPTIONAL+='CONFIG_DMA_FENCE_DEBUG '
	rm -f "$OBJ/.configured"
	logged "$BUILD/results/build-$1-config.log" "$1: configuring" configure "${frags[@]}" ||
		die "the $1 kernel cannot be configured as tools/drain/configs asks" \
			"correct the fragments, or the base's Kconfig"
	echo "$kconfig" >"$OBJ/.configured"
}

# use_tree WHAT COMMIT: have the builder tree to ourselves, with this commit in it.
use_tree()
{
	paths "$1"
	lock "$BASE_ID-$1"
	[ -d "$OBJ" ] || need_space "$CACHE" 4 "building the $1 kernel"
	mkdir -p "$CACHE/$BASE_ID"
	say "$1: checking out $(printf '%.12s' "$2")"
	checkout "$TREE" "$2" || die "cannot check out $2 in $TREE" \
		"is there space? otherwise remove that directory and run this again"
	configured "$1" "$2"
}

leave_tree()
{
	unlock "$BASE_ID-$1"
}

# copy_series: put what build/linux holds now into the repository of the builder
# trees; sets PATCHED to the commit.
copy_series()
{
	PATCHED=$(snapshot)
	lock push
	kgit -C "$LINUX" push -q --force "$REPO" \
		"$PATCHED:refs/snapshots/$(printf %s "$LINUX" | sha256sum | cut -c1-16)" ||
		die "cannot copy build/linux to $REPO" "is there space left?"
	unlock push
}
