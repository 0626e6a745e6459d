// SPDX-License-Identifier: GPL-2.0
/*
 * A BPF program that is called when a function of the kernel returns
 *
 * Usage: drm_drain_bpf FUNCTION...
 *
 * Such a function returns to a trampoline. A process is left behind that keeps the
 * programs attached until it gets SIGTERM. Its pid is printed. Exit status 4 says that
 * the kernel has no BTF.
 */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/bpf.h>
#include <linux/btf.h>

#include "kselftest.h"

#define VMLINUX "/sys/kernel/btf/vmlinux"

static char *btf;

static __noreturn void cannot(const char *what, int status)
{
	perror(what);
	exit(status);
}

static void read_btf(void)
{
	int fd = open(VMLINUX, O_RDONLY);
	struct stat st;
	ssize_t len;
	off_t at;

	if (fd < 0)
		cannot(VMLINUX, KSFT_SKIP);
	if (fstat(fd, &st))
		cannot(VMLINUX, KSFT_FAIL);
	btf = malloc(st.st_size);
	if (!btf)
		cannot(VMLINUX, KSFT_FAIL);
	for (at = 0; at < st.st_size; at += len) {
		len = read(fd, btf + at, st.st_size - at);
		if (len <= 0)
			cannot(VMLINUX, KSFT_FAIL);
	}
	close(fd);
}

/* What follows a struct btf_type of this kind */
static size_t extra(const struct btf_type *type)
{
	unsigned int vlen = BTF_INFO_VLEN(type->info);

	switch (BTF_INFO_KIND(type->info)) {
	case BTF_KIND_INT:
		return sizeof(__u32);
	case BTF_KIND_ARRAY:
		return sizeof(struct btf_array);
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
		return vlen * sizeof(struct btf_member);
	case BTF_KIND_ENUM:
		return vlen * sizeof(struct btf_enum);
	case BTF_KIND_ENUM64:
		return vlen * sizeof(struct btf_enum64);
	case BTF_KIND_FUNC_PROTO:
		return vlen * sizeof(struct btf_param);
	case BTF_KIND_VAR:
		return sizeof(struct btf_var);
	case BTF_KIND_DATASEC:
		return vlen * sizeof(struct btf_var_secinfo);
	case BTF_KIND_DECL_TAG:
		return sizeof(struct btf_decl_tag);
	}

	return 0;
}

static __u32 find_function(const char *name)
{
	const struct btf_header *header = (void *)btf;
	const char *strings = btf + header->hdr_len + header->str_off;
	const char *types = btf + header->hdr_len + header->type_off;
	const char *end = types + header->type_len;
	const struct btf_type *type;
	__u32 id;

	for (id = 1; types < end; id++) {
		type = (void *)types;
		if (BTF_INFO_KIND(type->info) == BTF_KIND_FUNC &&
		    !strcmp(strings + type->name_off, name))
			return id;
		types += sizeof(*type) + extra(type);
	}

	return 0;
}

static int bpf(int cmd, union bpf_attr *attr)
{
	return syscall(SYS_bpf, cmd, attr, sizeof(*attr));
}

static void add_program(const char *name)
{
	/* return 0 */
	const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr load = {
		.prog_type = BPF_PROG_TYPE_TRACING,
		.expected_attach_type = BPF_TRACE_FEXIT,
		.insns = (unsigned long)insns,
		.insn_cnt = ARRAY_SIZE(insns),
		.license = (unsigned long)"GPL",
		.attach_btf_id = find_function(name),
	};
	union bpf_attr open = {};
	int fd;

	if (!load.attach_btf_id) {
		fprintf(stderr, "there is no function %s\n", name);
		exit(KSFT_FAIL);
	}
	fd = bpf(BPF_PROG_LOAD, &load);
	if (fd < 0)
		cannot("program", KSFT_FAIL);
	open.raw_tracepoint.prog_fd = fd;
	if (bpf(BPF_RAW_TRACEPOINT_OPEN, &open) < 0)
		cannot("raw_tracepoint", KSFT_FAIL);
}

int main(int argc, char **argv)
{
	sigset_t mask;
	pid_t pid;
	int i, sig;

	if (argc < 2) {
		fprintf(stderr, "usage: %s FUNCTION...\n", argv[0]);
		return KSFT_FAIL;
	}

	read_btf();
	for (i = 1; i < argc; i++)
		add_program(argv[i]);

	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	pid = fork();
	if (pid < 0)
		cannot("fork", KSFT_FAIL);
	if (pid) {
		printf("%d\n", pid);
		return 0;
	}

	/* Whoever reads the pid waits until nobody can write any more. */
	fclose(stdout);
	fclose(stderr);
	sigwait(&mask, &sig);

	return 0;
}
