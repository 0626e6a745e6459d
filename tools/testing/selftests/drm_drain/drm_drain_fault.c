// SPDX-License-Identifier: GPL-2.0
/*
 * Threads that sleep in the kernel, below a fault on user memory
 *
 * Usage: drm_drain_fault tasks COUNT
 *        drm_drain_fault param FILE
 *
 *   tasks  COUNT threads read from /dev/zero into a page that is never there
 *   param  one thread writes the address of such a page to FILE, a parameter of
 *          a module that reads from it
 *
 * A process is left behind that resolves the faults, by its exit, when it gets
 * SIGTERM. Its pid is printed when each thread has either done what it had to do
 * or sleeps in handle_userfault(), within a system call. Exit status 4 says that
 * the kernel does not have userfaultfd.
 */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/userfaultfd.h>

#include "kselftest.h"

#define STACK_SIZE	65536

struct thread {
	pid_t tid;
	int done;
};

static struct thread *threads;
static const char *param;
static char *page;
static int zero;

static __noreturn void cannot(const char *what)
{
	perror(what);
	exit(KSFT_FAIL);
}

/* A page whose first use, by whomever, is a fault that nobody resolves */
static void create_page(void)
{
	size_t size = sysconf(_SC_PAGESIZE);
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range.len = size,
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd;

	page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		cannot("mmap");
	reg.range.start = (unsigned long)page;

	fd = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (fd < 0) {
		perror("userfaultfd");
		exit(KSFT_SKIP);
	}
	if (ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg))
		cannot("userfaultfd ioctl");
}

static void *thread_fn(void *data)
{
	struct thread *thread = data;
	char addr[32];
	int fd, len;

	__atomic_store_n(&thread->tid, syscall(SYS_gettid), __ATOMIC_RELEASE);
	if (param) {
		fd = open(param, O_WRONLY | O_CLOEXEC);
		len = snprintf(addr, sizeof(addr), "%#lx\n", (unsigned long)page);
		if (fd < 0 || write(fd, addr, len) != len)
			cannot(param);
		close(fd);
	} else if (read(zero, page, 1) != 1) {
		cannot("read");
	}
	__atomic_store_n(&thread->done, 1, __ATOMIC_RELEASE);

	return NULL;
}

/* What a file in the directory of a thread begins with, if the thread is still there */
static void proc_read(pid_t tid, const char *name, char *buf, size_t size)
{
	char path[64];
	ssize_t len;
	int fd;

	buf[0] = '\0';
	snprintf(path, sizeof(path), "/proc/self/task/%d/%s", tid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	len = read(fd, buf, size - 1);
	if (len >= 0)
		buf[len] = '\0';
	close(fd);
}

static int asleep(pid_t tid)
{
	char buf[128];

	proc_read(tid, "wchan", buf, sizeof(buf));
	if (strcmp(buf, "handle_userfault"))
		return 0;

	/* The number of the system call, or -1 if the fault was not taken in one */
	proc_read(tid, "syscall", buf, sizeof(buf));
	if (atol(buf) < 0) {
		fprintf(stderr, "a fault in user mode: %s\n", buf);
		exit(KSFT_FAIL);
	}

	return 1;
}

static void wait_for_thread(struct thread *thread)
{
	const struct timespec delay = { .tv_nsec = 1000 * 1000 };
	pid_t tid;
	int i;

	for (i = 0; i < 60000; i++) {
		tid = __atomic_load_n(&thread->tid, __ATOMIC_ACQUIRE);
		if (__atomic_load_n(&thread->done, __ATOMIC_ACQUIRE) || (tid && asleep(tid)))
			return;
		nanosleep(&delay, NULL);
	}
	fprintf(stderr, "a thread neither sleeps nor is it done\n");
	exit(KSFT_FAIL);
}

static void start(int count)
{
	pthread_attr_t attr;
	pthread_t pthread;
	int i;

	threads = calloc(count, sizeof(*threads));
	zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	if (!threads || zero < 0)
		cannot("set up");

	create_page();
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	for (i = 0; i < count; i++) {
		errno = pthread_create(&pthread, &attr, thread_fn, &threads[i]);
		if (errno)
			cannot("create a thread");
	}
	for (i = 0; i < count; i++)
		wait_for_thread(&threads[i]);
}

int main(int argc, char **argv)
{
	sigset_t mask;
	int count = 1, sig, status;
	int ready[2];
	pid_t pid;
	char c;

	if (argc == 3 && !strcmp(argv[1], "tasks"))
		count = atoi(argv[2]);
	else if (argc == 3 && !strcmp(argv[1], "param"))
		param = argv[2];
	else
		count = 0;
	if (count < 1) {
		fprintf(stderr, "usage: %s tasks COUNT | param FILE\n", argv[0]);
		return KSFT_FAIL;
	}

	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigprocmask(SIG_BLOCK, &mask, NULL);

	if (pipe(ready))
		cannot("pipe");
	pid = fork();
	if (pid < 0)
		cannot("fork");
	if (pid) {
		close(ready[1]);
		if (read(ready[0], &c, 1) != 1) {
			waitpid(pid, &status, 0);
			return WIFEXITED(status) ? WEXITSTATUS(status) : KSFT_FAIL;
		}
		printf("%d\n", pid);
		return 0;
	}

	close(ready[0]);
	start(count);
	if (write(ready[1], "", 1) != 1)
		cannot("write");
	close(ready[1]);

	/* Whoever reads the pid waits until nobody can write any more. */
	fclose(stdout);
	fclose(stderr);
	sigwait(&mask, &sig);

	/* The faults are resolved when the file goes. No thread is waited for. */
	_exit(0);
}
