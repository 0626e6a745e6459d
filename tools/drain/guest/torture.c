// SPDX-License-Identifier: GPL-2.0
/*
 * The torture test: what is done to the victims, and when
 *
 * Usage: torture plan SEED CYCLER COUNT
 *        torture run MINUTES SEED LEAST CONTROL DIRECTORY
 *
 *   plan   print what a cycler does in its first COUNT cycles
 *   run    do that, with CYCLERS processes and others that disturb them; the modules of
 *          victim and helper are in DIRECTORY
 *
 * LEAST is how often each thing that is counted has to be done; with -1, a run that has not
 * come across a violation goes on for a while. CONTROL is "-", or what is
 * taken away:
 *
 *   devices  the victims do not wait for their devices, and pretend to
 *   late     each module is judged late
 *   drained  nothing; all victims wait for their devices in their exit functions
 *
 * The kernel's part, with most of the judges, is tools/drain/modules/drm_drain_torture.c. The
 * judges here are
 *
 *   load     a module does not load, although nothing speaks against it
 *   unload   a module does not unload, or twice, or is still there
 *   reports  a wait is reported more often than each time that it has doubled, or is long
 *            and not reported
 *   freeze   tasks that unload cannot be frozen
 *   left     something is left at the end: devices, holders, modules, processes
 *   cover    something was not done often enough
 *
 * What is printed goes to the kernel's log, as "torture: NAME ...".
 */

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../modules/drm_drain_torture.h"

#define __noreturn	__attribute__((__noreturn__))
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define CYCLERS		3
#define ACTORS		8
#define CTL		"/dev/drm_drain_torture"
#define STATS		"/sys/kernel/debug/drm_drain_torture/stats"
#define CGROUP		"/tmp/cgroup/torture"

/*
 * How long something may take that is judged here by the clock, in s: it takes no longer than a
 * few seconds on a slow machine, or for ever.
 */
#define FOR_EVER	120

/*
 * An unload that takes so long, in s by the clock of the judge, which is slow when the machine is,
 * has waited for more than 10 s in one of two places.
 */
#define SILENT		25
#define REPORTERS	64

/* On a slow machine, a run takes longer, at most so many times as long. */
#define SLOW		4

/* What is counted here, for all processes */
enum count { LOADS, AGAIN, SECOND, KILLED, LOST, ALLOC_LOAD, ALLOC_UNLOAD, FROZEN, OTHERS, EXECS,
	     OFFLINE, REPORTS, FAULTS, READS, COUNTS };

static const char * const count_names[] = {
	[LOADS] = "load",
	[AGAIN] = "load-again",
	[SECOND] = "second-rmmod",
	[KILLED] = "killed-rmmod",
	[LOST] = "left-behind",
	[ALLOC_LOAD] = "failed-allocation-load",
	[ALLOC_UNLOAD] = "failed-allocation-unload",
	[FROZEN] = "frozen",
	[OTHERS] = "other-modules",
	[EXECS] = "exec",
	[OFFLINE] = "offline",
	[REPORTS] = "report",
	[FAULTS] = "fault",
	[READS] = "read",
};

static struct shared {
	int stop;
	int violations;
	int spare;
	int counts[COUNTS];
	/* The processes of the last reports */
	int reporters[REPORTERS];
	unsigned int reported;
} *shared;

static int kmsg = 2;
static const char *directory;
static bool pretend, drained_only, late;

static void say(int level, const char *fmt, ...)
{
	char text[400];
	va_list args;
	int n;

	n = snprintf(text, sizeof(text), "<%d>torture: ", level);
	va_start(args, fmt);
	vsnprintf(text + n, sizeof(text) - n - 1, fmt, args);
	va_end(args);
	strcat(text, "\n");
	if (write(kmsg, text, strlen(text)) < 0)
		perror("kmsg");
}

static void counted(enum count count)
{
	__atomic_add_fetch(&shared->counts[count], 1, __ATOMIC_RELAXED);
}

#define violation(judge, fmt, ...) do {						\
	__atomic_add_fetch(&shared->violations, 1, __ATOMIC_RELAXED);		\
	say(3, "VIOLATION " judge ": " fmt, ##__VA_ARGS__);			\
} while (0)

static __noreturn void cannot(const char *what)
{
	say(3, "cannot: %s: %s", what, strerror(errno));
	exit(1);
}

static void pause_ms(unsigned int ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000L };

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

static double clock_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);

	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static bool stopping(void)
{
	return __atomic_load_n(&shared->stop, __ATOMIC_RELAXED);
}

/* The plan: of the seed, the cycler and the number of the cycle, and of nothing else */

static uint64_t rng_state;

static uint64_t rng(void)
{
	uint64_t z = (rng_state += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;

	return z ^ (z >> 31);
}

static unsigned int below(unsigned int n)
{
	return rng() % n;
}

static bool one_in(unsigned int n)
{
	return !below(n);
}

static void seed_rng(uint64_t seed, unsigned int who, uint64_t n)
{
	rng_state = seed;
	rng_state = rng() ^ ((uint64_t)who << 32);
	rng_state = rng() ^ n;
	rng();
}

struct actor {
	unsigned int device, context, tail, where, deferred, creates, before_ms, tail_ms;
	bool late, thread, leader_exits;
};

struct plan {
	unsigned int devices, release_ms, unload_ms, actors;
	bool drain, unload_help, freezable;
	int init_fails_ms;
	/* If not 0, this one of the allocations fails. */
	unsigned int fail_load, fail_unload;
	/* If not negative, when another rmmod, a load or SIGKILL comes after the rmmod */
	int second_ms, again_ms, kill_ms;
	struct actor actor[ACTORS];
};

static void plan_actor(struct actor *actor, const struct plan *plan, bool slow)
{
	bool sleeps;

	actor->device = below(plan->devices);
	actor->context = below(TORTURE_CONTEXTS);
	sleeps = torture_context_sleeps(actor->context);
	actor->tail = below(sleeps ? TORTURE_TAILS : TAIL_RCU + 1);
	if (actor->tail == TAIL_FAULT)
		actor->context = IN_USER;
	actor->where = below(TORTURE_WHERES);
	actor->deferred = !sleeps || one_in(3);
	actor->creates = sleeps && actor->where != IN_HELPER ? below(8) : 0;
	if (actor->creates > 3)
		actor->creates = 0;
	actor->before_ms = below(4) ? below(300) : below(30);
	actor->tail_ms = sleeps ? below(300) : below(12);
	/* Nobody waits for the exit function of a helper that stays. */
	if (actor->where != IN_HELPER || plan->unload_help)
		actor->late = one_in(sleeps ? 2 : 4);
	/* Longer than a grace period */
	if (actor->late && sleeps && actor->tail != TAIL_BUSY && one_in(4))
		actor->tail_ms = 1000 + below(2000);
	/* For the reports */
	if (slow && sleeps)
		*(one_in(2) ? &actor->before_ms : &actor->tail_ms) = 12000 + below(18000);
	actor->thread = one_in(2);
	actor->leader_exits = one_in(2);
}

static void make_plan(struct plan *plan, uint64_t seed, unsigned int cycler, uint64_t n)
{
	bool slow;

	seed_rng(seed, cycler, n);
	memset(plan, 0, sizeof(*plan));
	plan->devices = 1 + below(one_in(4) ? TORTURE_DEVICES : 2);
	plan->release_ms = one_in(3) ? below(50) : 0;
	plan->unload_ms = one_in(2) ? below(200) : 0;
	plan->drain = !one_in(6);
	plan->unload_help = one_in(2);
	plan->freezable = one_in(3);
	plan->init_fails_ms = one_in(6) ? (int)below(300) : -1;
	plan->fail_load = one_in(12) ? 1 + below(150) : 0;
	plan->fail_unload = one_in(12) ? 1 + below(20) : 0;
	plan->second_ms = one_in(6) ? (int)below(200) : -1;
	plan->again_ms = one_in(6) ? (int)below(200) : -1;
	plan->kill_ms = one_in(12) ? (int)below(200) : -1;
	slow = one_in(25);
	plan->actors = below(ACTORS) + 1;
	for (unsigned int i = 0; i < plan->actors; i++)
		plan_actor(&plan->actor[i], plan, slow && !i);
}

static void print_plan(const struct plan *plan, unsigned int cycler, uint64_t n)
{
	printf("cycler %u cycle %llu: devices %u release %u unload %u drain %d help %d",
	       cycler, (unsigned long long)n, plan->devices, plan->release_ms, plan->unload_ms,
	       plan->drain, plan->unload_help);
	printf(" freezable %d init %d fail %u %u second %d again %d kill %d\n",
	       plan->freezable, plan->init_fails_ms, plan->fail_load, plan->fail_unload,
	       plan->second_ms, plan->again_ms, plan->kill_ms);
	for (unsigned int i = 0; i < plan->actors; i++) {
		const struct actor *a = &plan->actor[i];

		printf("  device %u context %u tail %u where %u deferred %u creates %u", a->device,
		       a->context, a->tail, a->where, a->deferred, a->creates);
		printf(" late %d before %u tail %u thread %d alone %d\n", a->late, a->before_ms,
		       a->tail_ms, a->thread, a->leader_exits);
	}
}

/* Modules: one file under several names, which differ in a character */

struct image {
	char *data;
	size_t size;
};

static struct image read_image(const char *name)
{
	struct image image = {};
	struct stat st;
	char path[256];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%s.ko", directory, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		cannot(path);
	image.data = malloc(st.st_size);
	if (!image.data)
		cannot("malloc");
	while ((size_t)st.st_size > image.size &&
	       (n = read(fd, image.data + image.size, st.st_size - image.size)) > 0)
		image.size += n;
	close(fd);

	return image;
}

static void rename_image(struct image *image, const char *name, unsigned int id)
{
	char *p, *end = image->data + image->size;
	size_t len = strlen(name);

	for (p = image->data; (p = memmem(p, end - p, name, len)); p += len)
		p[len - 1] = TORTURE_NAMES[id];
}

static struct image victim_image, help_image;

/* The images of this process have the names of this victim. */
static unsigned int name_id = TORTURE_VICTIMS;

static void use_name(unsigned int id)
{
	if (name_id == id)
		return;
	free(victim_image.data);
	free(help_image.data);
	victim_image = read_image("drm_drain_victim0");
	help_image = read_image("drm_drain_help0");
	rename_image(&victim_image, "drain_victim0", id);
	rename_image(&victim_image, "drain_help0", id);
	rename_image(&victim_image, "torture_help0", id);
	rename_image(&help_image, "drain_help0", id);
	rename_image(&help_image, "torture_help0", id);
	name_id = id;
}

static int load_image(const struct image *image, const char *params)
{
	return syscall(SYS_init_module, image->data, image->size, params) ? errno : 0;
}

static int unload(const char *name)
{
	return syscall(SYS_delete_module, name, O_NONBLOCK) ? errno : 0;
}

/* is_loaded NAME: sets the state, if it is not NULL */
static bool is_loaded(const char *name, char *state)
{
	char line[512], found[64], s[32];
	bool loaded = false;
	FILE *f = fopen("/proc/modules", "re");

	if (!f)
		cannot("/proc/modules");
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%63s %*s %*s %*s %31s", found, s) == 2 && !strcmp(found, name)) {
			loaded = true;
			if (state)
				strcpy(state, s);
		}
	}
	fclose(f);

	return loaded;
}

/* Files */

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int ret = 0;

	if (fd < 0)
		return errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = errno;
	close(fd);

	return ret;
}

static bool file_has(const char *path, const char *text)
{
	char buf[256] = {};
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool has = false;

	if (fd < 0)
		return false;
	if (read(fd, buf, sizeof(buf) - 1) > 0)
		has = strstr(buf, text);
	close(fd);

	return has;
}

static int open_ctl(void)
{
	int fd = open(CTL, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		cannot(CTL);

	return fd;
}

static int tell(int ctl, const char *fmt, ...)
{
	char text[128];
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);

	return write(ctl, text, n) < 0 ? errno : 0;
}

static long stat_of(const char *name)
{
	char line[128], found[64];
	long value, result = -1;
	FILE *f = fopen(STATS, "re");

	if (!f)
		cannot(STATS);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%63s %ld", found, &value) == 2 && !strcmp(found, name))
			result = value;
	}
	fclose(f);

	return result;
}

/* The next allocations of this thread: one fails. */
static void fail_allocation(unsigned int nth)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", nth);
	write_file("/proc/thread-self/fail-nth", text);
}

/* Whether it has failed: the counter has come to its end. */
static bool allocation_failed(void)
{
	char buf[16] = {};
	int fd = open("/proc/thread-self/fail-nth", O_RDONLY | O_CLOEXEC);
	bool failed = false;

	if (fd >= 0) {
		failed = read(fd, buf, sizeof(buf) - 1) > 0 && atoi(buf) == 0;
		close(fd);
	}
	fail_allocation(0);

	return failed;
}

/* Children */

static pid_t child(void)
{
	pid_t pid = fork();

	if (pid < 0)
		cannot("fork");

	return pid;
}

/* The exit status, or -1 if it was killed */
static int status_of(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			cannot("waitpid");
	}

	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* A holder in user space. It has its reference before it says so. */

static const struct actor *self;
static unsigned int self_id;
static int self_ctl;

static int hold(int ctl, unsigned int id, const struct actor *a, unsigned long addr)
{
	return tell(ctl, "hold %u %u %u %u %u %u %u %u %u %u %lx", id, a->device, a->context,
		    a->tail, a->where, a->deferred, a->creates, a->late, a->before_ms,
		    a->tail_ms, addr);
}

static void *user_put(void *data)
{
	pause_ms(self->before_ms);
	if (self->context == IN_USER && tell(self_ctl, "put"))
		cannot("put");
	/* Otherwise, that is done by the exit. */
	exit(0);
}

static int uffd;
static char *uffd_page;

static void create_fault(void)
{
	size_t size = sysconf(_SC_PAGESIZE);
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .range.len = size, .mode = UFFDIO_REGISTER_MODE_MISSING };

	uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api))
		cannot("userfaultfd");
	uffd_page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (uffd_page == MAP_FAILED)
		cannot("mmap");
	reg.range.start = (unsigned long)uffd_page;
	if (ioctl(uffd, UFFDIO_REGISTER, &reg))
		cannot("UFFDIO_REGISTER");
}

/* Resolves the fault when the tail has been in it for long enough. */
static void *user_fault(void *data)
{
	struct uffdio_zeropage zero = {
		.range.start = (unsigned long)uffd_page,
		.range.len = sysconf(_SC_PAGESIZE),
	};
	struct uffd_msg msg;

	if (read(uffd, &msg, sizeof(msg)) != sizeof(msg))
		cannot("read from userfaultfd");
	counted(FAULTS);
	if (self->late)
		tell(self_ctl, "wait %u",
		     self->where == IN_HELPER ? TORTURE_HELPER(self_id) : self_id);
	pause_ms(self->tail_ms);
	if (ioctl(uffd, UFFDIO_ZEROPAGE, &zero))
		cannot("UFFDIO_ZEROPAGE");
	pause();

	return NULL;
}

static __noreturn void user_actor(unsigned int id, const struct actor *a, int ready)
{
	pthread_t thread;
	char byte;

	self = a;
	self_id = id;
	self_ctl = open_ctl();
	if (a->tail == TAIL_FAULT) {
		create_fault();
		if (pthread_create(&thread, NULL, user_fault, NULL))
			cannot("pthread_create");
	}
	byte = hold(self_ctl, id, a, (unsigned long)uffd_page);
	if (write(ready, &byte, 1) != 1 || byte)
		exit(0);
	if (!a->thread)
		user_put(NULL);
	if (pthread_create(&thread, NULL, user_put, NULL))
		cannot("pthread_create");
	if (a->leader_exits)
		pthread_exit(NULL);
	for (;;)
		pause();
}

/* hold_all: whatever can be held is. Returns the number of processes that hold something. */
static int hold_all(int ctl, unsigned int id, const struct plan *plan, pid_t *pids)
{
	int users = 0, pipes[2];
	char byte;

	for (unsigned int i = 0; i < plan->actors; i++) {
		const struct actor *a = &plan->actor[i];

		if (a->context != IN_USER && a->context != IN_RELEASE) {
			hold(ctl, id, a, 0);
			continue;
		}
		if (pipe(pipes))
			cannot("pipe");
		pids[users] = child();
		if (!pids[users]) {
			close(pipes[0]);
			user_actor(id, a, pipes[1]);
		}
		close(pipes[1]);
		if (read(pipes[0], &byte, 1) != 1)
			cannot("read from a holder");
		close(pipes[0]);
		users++;
	}

	return users;
}

/* A cycle */

static int load_victim(const struct plan *plan, unsigned int id)
{
	char params[128];
	int ret;

	snprintf(params, sizeof(params),
		 "id=%u devices=%u release_ms=%u init_fails_ms=%d drain=%d pretend=%d", id,
		 plan->devices, plan->release_ms, plan->init_fails_ms,
		 (plan->drain || drained_only) && !pretend, pretend);
	if (plan->fail_load)
		fail_allocation(plan->fail_load);
	ret = load_image(&victim_image, params);
	if (plan->fail_load && allocation_failed())
		counted(ALLOC_LOAD);

	return ret;
}

/* Somebody unloads it while it may be unloading already. */
static void another(pid_t *pid, const char *name, int ms)
{
	*pid = 0;
	if (ms < 0)
		return;
	*pid = child();
	if (*pid)
		return;
	pause_ms(ms);
	exit(unload(name));
}

static void loads_again(pid_t *pid, int ms)
{
	char params[32];

	*pid = 0;
	if (ms < 0)
		return;
	*pid = child();
	if (*pid)
		return;
	pause_ms(ms);
	snprintf(params, sizeof(params), "id=%u", name_id);
	exit(load_image(&victim_image, params));
}

static bool was_reported(pid_t pid)
{
	pause_ms(1000);
	for (int i = 0; i < REPORTERS; i++) {
		if (__atomic_load_n(&shared->reporters[i], __ATOMIC_RELAXED) == pid)
			return true;
	}

	return false;
}

static pid_t begin_unload(const struct plan *plan, const char *name)
{
	char pid_text[16];
	pid_t pid = child();
	int ret;

	if (pid)
		return pid;
	if (plan->freezable) {
		snprintf(pid_text, sizeof(pid_text), "%d", getpid());
		write_file(CGROUP "/cgroup.procs", pid_text);
	}
	if (plan->fail_unload)
		fail_allocation(plan->fail_unload);
	/* The freezer interrupts whoever waits for the lock of the modules. */
	do
		ret = unload(name);
	while (ret == EINTR && plan->freezable);
	if (plan->fail_unload && allocation_failed())
		counted(ALLOC_UNLOAD);
	exit(ret);
}

static bool any_late(const struct plan *plan)
{
	for (unsigned int i = 0; i < plan->actors; i++) {
		if (plan->actor[i].late)
			return true;
	}

	return false;
}

static void unload_victim(const struct plan *plan, const char *name)
{
	pid_t pid, second_pid, again_pid;
	int ret, second = -1, again = -1;
	int spare = TORTURE_VICTIMS - __atomic_load_n(&shared->spare, __ATOMIC_RELAXED);
	/* Most that are killed while there is a tail leave their module behind. */
	bool may_kill = plan->kill_ms >= 0 &&
		spare > (any_late(plan) ? TORTURE_VICTIMS / 2 : CYCLERS);
	long start = stat_of("now-ticks"), took;

	pid = begin_unload(plan, name);
	another(&second_pid, name, plan->second_ms);
	loads_again(&again_pid, plan->again_ms);
	if (may_kill) {
		pause_ms(plan->kill_ms);
		kill(pid, SIGKILL);
	}
	ret = status_of(pid);
	took = (stat_of("now-ticks") - start) / stat_of("now-hz");
	if (ret < 0)
		counted(KILLED);
	if (second_pid) {
		second = status_of(second_pid);
		counted(SECOND);
	}
	if (again_pid) {
		again = status_of(again_pid);
		if (again == EEXIST || again == EBUSY)
			counted(AGAIN);
	}
	/* It has waited in two places, and not told whoever is in the freezer. */
	if (took > SILENT && !plan->freezable && !was_reported(pid))
		violation("reports", "process %d waits for %ld s, and there is no report", pid,
			  took);

	/* One has unloaded it, unless it was killed before. What came again goes again. */
	if (ret > 0 && !(second == 0 && (ret == EBUSY || ret == ENOENT)) &&
	    !(again == 0 && (ret == EBUSY || ret == EAGAIN)))
		violation("unload", "rmmod %s: %s", name, strerror(ret));
	if (second > 0 && second != EBUSY && second != ENOENT && !(again == 0 && second == EAGAIN))
		violation("unload", "second rmmod %s: %s", name, strerror(second));
	if (second == 0 && ret == 0 && again != 0)
		violation("unload", "%s was unloaded twice", name);
	if (again > 0 && again != EEXIST && again != EBUSY)
		violation("load", "%s again: %s", name, strerror(again));
}

/* gone NAME: it is, at last; false if it was left behind, by a signal that came too late */
static bool gone(const char *name, bool killed)
{
	char state[32];
	int ret;

	if (!is_loaded(name, state))
		return true;
	/* Somebody has loaded it again, or has killed rmmod before it had begun. */
	if (!strcmp(state, "Live")) {
		ret = unload(name);
		if (ret)
			violation("unload", "rmmod %s at last: %s", name, strerror(ret));
		return !ret;
	}
	if (!killed)
		violation("unload", "%s is still there, %s", name, state);

	return false;
}

static bool cycle(int ctl, unsigned int id, const struct plan *plan)
{
	char victim[32], help[32], params[16];
	pid_t pids[ACTORS], loader = 0;
	int ret, users;
	bool is_gone = true;

	snprintf(victim, sizeof(victim), "drm_drain_victim%c", TORTURE_NAMES[id]);
	snprintf(help, sizeof(help), "drm_drain_help%c", TORTURE_NAMES[id]);
	snprintf(params, sizeof(params), "id=%u", id);
	use_name(id);

	ret = load_image(&help_image, params);
	if (ret && ret != EEXIST)
		violation("load", "%s: %s", help, strerror(ret));

	if (plan->init_fails_ms >= 0) {
		loader = child();
		if (!loader)
			exit(load_victim(plan, id));
		pause_ms(plan->init_fails_ms / 2 + 1);
	} else {
		ret = load_victim(plan, id);
		if (ret && !(plan->fail_load && (ret == ENOMEM || ret == ENODEV)))
			violation("load", "%s: %s", victim, strerror(ret));
		if (!ret)
			counted(LOADS);
	}
	users = ret ? 0 : hold_all(ctl, id, plan, pids);

	if (loader) {
		ret = status_of(loader);
		if (ret != ENODEV && !(plan->fail_load && ret == ENOMEM))
			violation("load", "%s should not load: %s", victim, strerror(ret));
	} else if (!ret) {
		pause_ms(plan->unload_ms);
		unload_victim(plan, victim);
		is_gone = gone(victim, plan->kill_ms >= 0);
	}
	/* Some of the holders may wait for this. */
	if (is_gone && plan->unload_help) {
		ret = unload(help);
		if (ret)
			violation("unload", "rmmod %s: %s", help, strerror(ret));
	}
	while (users)
		status_of(pids[--users]);

	return is_gone;
}

static void cycler(uint64_t seed, unsigned int nr)
{
	struct plan plan;
	unsigned int id = nr;
	int ctl = open_ctl();

	for (uint64_t n = 0; !stopping(); n++) {
		make_plan(&plan, seed, nr, n);
		if (cycle(ctl, id, &plan))
			continue;
		counted(LOST);
		id = __atomic_fetch_add(&shared->spare, 1, __ATOMIC_RELAXED);
		if (id >= TORTURE_VICTIMS)
			break;
	}
	exit(0);
}

/* Others */

static int run(const char *const argv[])
{
	pid_t pid = child();

	if (pid)
		return status_of(pid);
	execv("/bin/busybox", (char *const *)argv);
	exit(127);
}

/* Modules that have nothing to do with this; one registers a module notifier. */
static void other_modules(void)
{
	static const char * const names[] = { "vgem", "vkms", "kunit" };
	int n = 0;

	while (!stopping()) {
		const char *name = names[n++ % 3];
		const char *const load[] = { "modprobe", name, NULL };
		const char *const remove[] = { "rmmod", name, NULL };

		if (run(load))
			violation("load", "modprobe %s fails", name);
		else if (run(remove))
			violation("unload", "rmmod %s fails", name);
		else
			counted(OTHERS);
		pause_ms(1000);
	}
}

static void *exec_thread(void *data)
{
	execl("/bin/busybox", "true", NULL);
	exit(127);
}

/* Threads that are not their group's leader become another program. */
static void forks_and_execs(void)
{
	pthread_t thread;
	pid_t pid;

	while (!stopping()) {
		pid = child();
		if (!pid) {
			if (pthread_create(&thread, NULL, exec_thread, NULL))
				exit(1);
			for (;;)
				pause();
		}
		if (!status_of(pid))
			counted(EXECS);
		pause_ms(200);
	}
}

static void processors(void)
{
	const char *online = "/sys/devices/system/cpu/cpu1/online";

	while (!stopping()) {
		pause_ms(4000);
		if (write_file(online, "0"))
			continue;
		counted(OFFLINE);
		pause_ms(300);
		while (write_file(online, "1"))
			pause_ms(100);
	}
}

static bool soon_frozen(const char *text)
{
	for (double start = clock_s(); clock_s() - start < FOR_EVER; pause_ms(10)) {
		if (file_has(CGROUP "/cgroup.events", text))
			return true;
	}

	return false;
}

static void freezer(void)
{
	int ctl = open_ctl();

	while (!stopping()) {
		pause_ms(2000);
		tell(ctl, "frozen 1");
		write_file(CGROUP "/cgroup.freeze", "1");
		if (!soon_frozen("frozen 1"))
			violation("freeze", "tasks that unload cannot be frozen");
		if (file_has(CGROUP "/cgroup.procs", "\n"))
			counted(FROZEN);
		pause_ms(200);
		write_file(CGROUP "/cgroup.freeze", "0");
		if (!soon_frozen("frozen 0"))
			violation("freeze", "tasks that unload cannot be thawed");
		tell(ctl, "frozen 0");
	}
}

/* Reads this file in each directory of dir. */
static void read_each(const char *dir_path, const char *file)
{
	char path[600], buf[4096];
	struct dirent *entry;
	DIR *dir = opendir(dir_path);
	int fd;

	if (!dir)
		return;
	while ((entry = readdir(dir))) {
		snprintf(path, sizeof(path), "%s/%s/%s", dir_path, entry->d_name, file);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (read(fd, buf, sizeof(buf)) > 0)
			counted(READS);
		close(fd);
	}
	closedir(dir);
}

/* What others look at meanwhile */
static void reader(void)
{
	const char *const show[] = { "cat", "/proc/modules", "/proc/kallsyms", NULL };

	if (!freopen("/dev/null", "w", stdout))
		cannot("/dev/null");
	while (!stopping()) {
		if (one_in(20))
			run(show);
		read_each("/sys/module", "initstate");
		read_each("/sys/kernel/debug/dri", "name");
		pause_ms(500);
	}
}

/* A report says how long a task has waited, first after 10 s, and then after twice as long. */
static void report_judge(void)
{
	struct { int pid, secs; char what[32]; } last[REPORTERS] = {};
	char record[1024], comm[32], what[32];
	int fd = open("/dev/kmsg", O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	unsigned int n = 0, i;
	int pid, secs;
	char *text;
	ssize_t len;

	if (fd < 0)
		cannot("/dev/kmsg");
	while (!stopping()) {
		poll(&pfd, 1, 200);
		len = read(fd, record, sizeof(record) - 1);
		if (len < 0 && errno == EPIPE)
			violation("reports", "the log has overrun");
		if (len <= 0)
			continue;
		record[len] = 0;
		text = strchr(record, ';');
		text = text ? strstr(text, ": ") : NULL;
		if (!text || sscanf(text, ": %31[^:]:%d has waited for %d s %31[^\n]", comm, &pid,
				    &secs, what) != 4)
			continue;
		counted(REPORTS);
		shared->reporters[shared->reported++ % REPORTERS] = pid;
		for (i = 0; i < REPORTERS; i++) {
			if (last[i].pid == pid && !strcmp(last[i].what, what))
				break;
		}
		if (secs < (i < REPORTERS ? 2 * last[i].secs : 10))
			violation("reports", "process %d has waited for %d s, which is too early",
				  pid, secs);
		if (i == REPORTERS)
			i = n++ % REPORTERS;
		last[i].pid = pid;
		last[i].secs = secs;
		strcpy(last[i].what, what);
	}
}

static pid_t start(void (*fn)(void))
{
	pid_t pid = child();

	if (pid)
		return pid;
	seed_rng((uintptr_t)fn, 0, 0);
	fn();
	exit(0);
}

/* Processes, but for the workers of the kernel, of which there are as many as there is work */
static int processes(void)
{
	char path[300];
	struct dirent *entry;
	DIR *dir = opendir("/proc");
	int n = 0;

	if (!dir)
		cannot("/proc");
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
			continue;
		snprintf(path, sizeof(path), "/proc/%s/comm", entry->d_name);
		n += !file_has(path, "kworker");
	}
	closedir(dir);

	return n;
}

/* Of the judges here, and of those in the kernel */
static long all_violations(void)
{
	return __atomic_load_n(&shared->violations, __ATOMIC_RELAXED) + stat_of("violations");
}

static void statistics(double start)
{
	static const char * const names[] = {
		"unload", "helper-unload", "failed-init", "now-actors", "longest"
	};
	char text[400];
	int len = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(names); i++)
		len += snprintf(text + len, sizeof(text) - len, " %s %ld", names[i],
				stat_of(names[i]));
	say(5, "after %d s:%s violations %ld", (int)(clock_s() - start), text, all_violations());
}

/* Counts that are no aim */
static bool is_aim(const char *name)
{
	static const char * const others[] = {
		"violation", "now-", "longest", "created-gone", "refused-gone", "refused-live",
		/* The loader goes on at once. */
		"created-left",
		/* An exit function needs grace periods, which these tails hold up. */
		"gated-interrupt",
		/* Without a tail, hardly anybody is inside when an exit function returns. */
		"gated-none", "helper-gated-none",
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(others); i++) {
		if (!strncmp(name, others[i], strlen(others[i])))
			return false;
	}

	return true;
}

/* How many of the things that are counted were not done often enough; says which */
static int lacking(long least, bool judge)
{
	char line[128], name[64];
	int n = 0;
	long value;
	FILE *f = fopen(STATS, "re");

	if (!f)
		cannot(STATS);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%63s %ld", name, &value) != 2)
			continue;
		if (judge)
			say(5, "count %s %ld", name, value);
		if (!is_aim(name) || value >= least)
			continue;
		n++;
		if (judge)
			violation("cover", "%s: %ld, should be %ld", name, value, least);
	}
	fclose(f);
	for (int i = 0; i < COUNTS; i++) {
		/* There are not names enough for more. */
		long few = (i == LOST || i == KILLED) && least > 3 ? 3 : least;

		if (judge)
			say(5, "count %s %d", count_names[i], shared->counts[i]);
		if (shared->counts[i] >= few)
			continue;
		n++;
		if (judge)
			violation("cover", "%s: %d, should be %ld", count_names[i],
				  shared->counts[i], few);
	}

	return n;
}

static void judge_left(int before)
{
	long lost = shared->counts[LOST], loaded, live;
	double start;
	char name[32];

	for (unsigned int id = 0; id < TORTURE_VICTIMS; id++) {
		snprintf(name, sizeof(name), "drm_drain_help%c", TORTURE_NAMES[id]);
		/* One that was left behind needs it. */
		if (is_loaded(name, NULL))
			unload(name);
	}
	for (start = clock_s(); stat_of("now-actors") && clock_s() - start < FOR_EVER; )
		pause_ms(100);
	if (stat_of("now-actors"))
		violation("left", "%ld holders", stat_of("now-actors"));
	if (stat_of("now-inside"))
		violation("left", "somebody in %ld modules", stat_of("now-inside"));
	live = stat_of("now-devices");
	if (live)
		violation("left", "%ld devices", live);
	/* With what was left behind, there is its helper. */
	loaded = stat_of("now-loaded");
	if (loaded != 2 * lost)
		violation("left", "%ld modules, of which %ld were left behind on purpose", loaded,
			  2 * lost);
	for (start = clock_s(); processes() > before && clock_s() - start < FOR_EVER; )
		pause_ms(100);
	if (processes() > before)
		violation("left", "%d processes, before there were %d", processes(), before);
}

/* What an unload takes with nothing to wait for, in the clock of the judge */
static void calibrate(int ctl)
{
	struct plan plan = { .devices = TORTURE_DEVICES, .drain = true, .unload_help = true,
		.init_fails_ms = -1, .second_ms = -1, .again_ms = -1, .kill_ms = -1 };
	long longest, bound;

	for (int i = 0; i < 5; i++)
		cycle(ctl, 0, &plan);
	longest = stat_of("longest");
	/* Others use the processors, too; and some pauses between the looks at a task. */
	bound = 20 * longest + 250;
	say(5, "an unload takes %ld ticks, at most %ld are allowed", longest, bound);
	tell(ctl, "bound %ld", bound);
	if (late)
		tell(ctl, "sleep %ld", 2 * bound);
	tell(ctl, "begin");
}

static int torture(int minutes, uint64_t seed, long least)
{
	void (*const others[])(void) = { other_modules, forks_and_execs, processors, freezer,
					 reader, report_judge };
	enum { OTHERS_NR = ARRAY_SIZE(others) };
	pid_t pids[CYCLERS + OTHERS_NR];
	int ctl, before;
	double begin, said;

	before = processes();
	ctl = open_ctl();
	shared->spare = CYCLERS;
	mkdir("/tmp/cgroup", 0755);
	if (mount("none", "/tmp/cgroup", "cgroup2", 0, NULL) || mkdir(CGROUP, 0755))
		cannot("cgroup2");
	/* Nothing that is said is suppressed. */
	if (write_file("/proc/sys/kernel/printk_devkmsg", "on\n"))
		cannot("printk_devkmsg");
	/* No number comes twice. */
	if (write_file("/proc/sys/kernel/pid_max", "4194304"))
		cannot("pid_max");
	write_file("/sys/kernel/debug/failslab/ignore-gfp-wait", "N");
	write_file("/sys/kernel/debug/failslab/verbose", "0");
	calibrate(ctl);

	begin = clock_s();
	said = begin;
	for (unsigned int i = 0; i < CYCLERS; i++) {
		pids[i] = child();
		if (!pids[i])
			cycler(seed, i);
	}
	for (unsigned int i = 0; i < OTHERS_NR; i++)
		pids[CYCLERS + i] = start(others[i]);
	while (clock_s() - begin < 60.0 * minutes ||
	       (clock_s() - begin < 60.0 * minutes * SLOW &&
		(least < 0 ? !all_violations() : lacking(least, false)))) {
		pause_ms(500);
		if (clock_s() - said < 15)
			continue;
		said = clock_s();
		statistics(begin);
	}
	__atomic_store_n(&shared->stop, 1, __ATOMIC_RELAXED);
	for (unsigned int i = 0; i < CYCLERS + OTHERS_NR; i++) {
		if (status_of(pids[i]))
			violation("left", "a process has failed");
	}
	judge_left(before);
	statistics(begin);
	lacking(least, true);
	say(5, "ends, %ld violations", all_violations());

	return all_violations() ? 2 : 0;
}

static int usage(void)
{
	fprintf(stderr, "usage: torture plan SEED CYCLER COUNT\n"
		"       torture run MINUTES SEED LEAST CONTROL DIRECTORY\n");

	return 1;
}

int main(int argc, char **argv)
{
	struct plan plan;

	if (argc == 5 && !strcmp(argv[1], "plan")) {
		for (int n = 0; n < atoi(argv[4]); n++) {
			make_plan(&plan, strtoull(argv[2], NULL, 0), atoi(argv[3]), n);
			print_plan(&plan, atoi(argv[3]), n);
		}
		return 0;
	}
	if (argc != 7 || strcmp(argv[1], "run"))
		return usage();

	kmsg = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	if (kmsg < 0 || shared == MAP_FAILED)
		return 1;
	pretend = !strcmp(argv[5], "devices");
	drained_only = pretend || !strcmp(argv[5], "drained");
	directory = argv[6];
	late = !strcmp(argv[5], "late");

	return torture(atoi(argv[2]), strtoull(argv[3], NULL, 0), atol(argv[4]));
}
