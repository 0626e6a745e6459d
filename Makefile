# SPDX-License-Identifier: GPL-2.0
#
# The entry to everything here; "make" lists it. KERNEL_SRC= and KERNEL_TARBALL=
# say where the base kernel is, if not in the Debian archive.

.NOTPARALLEL:
.DEFAULT_GOAL := help

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
	@echo "Variables: KERNEL_SRC= or KERNEL_TARBALL= (the base), DRAIN_CACHE= (downloads and objects),"
	@echo "  DRAIN_GUESTS= (guests at once), DRAIN_JOBS= (compilers at once), DRAIN_ACCEL=tcg|kvm|auto (see tools/drain/boot -h)"

.PHONY: setup
setup: ## install missing tools and fetch the base kernel
	@tools/drain/setup

.PHONY: tree
tree: setup ## make build/linux: the base with the series applied, ready to work in
	@tools/drain/tree

.PHONY: rebase
rebase: setup ## apply the series to another base by hand: git am waits at a conflict
	@tools/drain/tree --rebase

.PHONY: export
export: ## write build/linux back to patches/ and the readable copies
	@tools/drain/export

# A tree with work in progress may be tried, but only an exported one checked.
.PHONY: worktree
worktree: setup
	@tools/drain/tree --keep

.PHONY: build
build: worktree ## build the guest kernels, stock and patched (25 minutes when cold, on two slow processors)
	@tools/drain/build

.PHONY: demo
demo: worktree ## show the bug on the stock kernel and its absence on the patched one
	@tools/drain/demo

.PHONY: check
check: setup tree ## run the tests for every change (tools/drain/check -h lists them; most targets below are not part of it)
	@tools/drain/check

.PHONY: mutants
mutants: setup tree ## put faults into the series, a test has to find each; not timed, goes on where it was; writes docs/mutants.md
	@tools/drain/mutants -w

.PHONY: model
model: setup tree ## search all states of the protocol's models (spin), and the orderings that comments claim (herd7), with faults (1 minute)
	@tools/drain/model

.PHONY: matrix
matrix: worktree ## the selftests with vgem, vkms and drivers that QEMU has a device for, with KASAN (1 hour when cold)
	@tools/drain/matrix

.PHONY: stacks
stacks: worktree ## stacks that cannot be read: x86 with frame pointers, arm64, BPF programs, or without any (1 hour when cold)
	@tools/drain/setup --stacks
	@tools/drain/stacks

.PHONY: harm
harm: worktree ## what others feel of a stalled unload: sleep, load, reboot, kexec, systemd (20 minutes when cold)
	@tools/drain/harm

.PHONY: torture
torture: MINUTES ?= 60
torture: SEED ?= $(shell date +%s)
torture: KERNEL ?= patched
torture: worktree ## unload drivers at random while judges look (MINUTES=60 SEED=number KERNEL=patched|matrix)
	@tools/drain/torture -k $(KERNEL) -m $(MINUTES) -s $(SEED)

.PHONY: kasan
kasan: setup tree ## KUnit under QEMU with KASAN and lockdep (15 minutes when cold)
	@tools/drain/check kasan

.PHONY: kcsan
kcsan: setup tree ## KUnit and selftests under QEMU with KCSAN (not timed)
	@tools/drain/check kcsan

.PHONY: steps
steps: setup tree ## KUnit with each patch to the core; each patch to drivers builds (not timed)
	@tools/drain/check steps

.PHONY: objects
objects: setup tree ## compile all that is touched for x86, arm64, arm and others, gcc and clang (10 to 20 minutes each when cold)
	@tools/drain/setup --cross
	@tools/drain/objects

.PHONY: survey
survey: tree ## write docs/drivers.md: the modules that own DRM devices, and where they wait
	@tools/drain/survey

.PHONY: mail
mail: export PART := $(value PART)
mail: export FROM := $(value FROM)
mail: tree ## write build/mail: a part, ready to be sent (PART=core FROM="Name <address>" [VERSION=2])
	@tools/drain/mail "$$PART" "$$FROM" $(VERSION)

.PHONY: docs
docs: setup tree ## Documentation/gpu with sphinx (10 minutes)
	@tools/drain/setup --docs
	@tools/drain/check docs

.PHONY: configs
configs: setup tree ## DRM=y, MODULES=n, MODULE_UNLOAD=n, PREEMPT_RT: build and boot (35 minutes when cold)
	@tools/drain/check configs

.PHONY: bench
bench: worktree ## what the wait for a module's text costs with up to 10,000 tasks, and a bound for that
	@tools/drain/build patched
	@tools/drain/boot -k patched -t 300 -q '-m 3072' -l bench -- tools/drain/guest/bench; rc=$$?; \
		sed -n 's,^.*] bench: ,,p' build/results/bench.log; exit $$rc

.PHONY: clean
clean: ## remove this clone's kernels, logs and results
	@tools/drain/clean

.PHONY: distclean
distclean: ## remove build/, unless something in it was not exported
	@tools/drain/clean --all
