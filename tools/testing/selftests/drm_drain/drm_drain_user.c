// SPDX-License-Identifier: GPL-2.0
/*
 * What a user of a DRM device can have of it when the file is closed, or is not
 *
 * Usage: drm_drain_user COMMAND NODE [NODE2]
 *
 *   version  print the name of the driver
 *   mmap     map a dumb buffer, close the file
 *   export   export a dumb buffer, close the file, keep the dma-buf
 *   import   the same, import it into NODE2, keep only the file of that
 *   lease    lease a connector and a CRTC, keep the file of the lease
 *   flip     show a buffer, start a nonblocking page flip, and end at once
 *   fbmap    map the framebuffer device NODE, close the file, keep writing to it
 *   devmem   write to NODE where 64 KiB of memory are, which the device takes
 *
 * Apart from version and flip, this leaves a process behind that keeps what it
 * was told to until it gets SIGTERM, and prints its pid. Exit status 4 says that
 * the device does not have what is needed.
 */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <linux/fb.h>

#include <drm/drm.h>
#include <drm/drm_fourcc.h>
#include <drm/drm_mode.h>

#include "kselftest.h"

#define ARRAY_LEN(a)	(sizeof(a) / sizeof((a)[0]))

struct display {
	__u32 connector;
	__u32 crtc;
	struct drm_mode_modeinfo mode;
};

static __noreturn void cannot(const char *what)
{
	int err = errno;
	/* Which a driver says that does not have this */
	int missing = err == EOPNOTSUPP || err == ENOTTY || err == ENOSYS || err == EINVAL ||
		      err == EACCES;

	fprintf(stderr, "%s: %s\n", what, strerror(err));
	exit(missing ? KSFT_SKIP : KSFT_FAIL);
}

static __noreturn void missing(const char *what)
{
	fprintf(stderr, "no %s\n", what);
	exit(KSFT_SKIP);
}

static int open_node(const char *node)
{
	int fd = open(node, O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		perror(node);
		exit(KSFT_FAIL);
	}

	return fd;
}

static void *u64_ptr(__u64 val)
{
	return (void *)(unsigned long)val;
}

static __u64 ptr_u64(const void *ptr)
{
	return (unsigned long)ptr;
}

/* Without a handler, it is left pending. */
static int terminated(void)
{
	sigset_t pending;

	sigpending(&pending);

	return sigismember(&pending, SIGTERM);
}

static void wait_until_terminated(void)
{
	sigset_t mask;
	int sig;

	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigwait(&mask, &sig);
}

/* Goes on in a child, after setup() if there is one. */
static void keep_begin(int (*setup)(void *), void *data)
{
	int ready[2], err = 0;
	sigset_t block;
	pid_t pid;

	sigemptyset(&block);
	sigaddset(&block, SIGTERM);
	sigprocmask(SIG_BLOCK, &block, NULL);

	if (pipe(ready)) {
		perror("pipe");
		exit(KSFT_FAIL);
	}
	pid = fork();
	if (pid < 0) {
		perror("fork");
		exit(KSFT_FAIL);
	}
	if (pid) {
		if (read(ready[0], &err, sizeof(err)) != sizeof(err))
			err = ECHILD;
		if (err) {
			errno = err;
			cannot("set up");
		}
		printf("%d\n", pid);
		exit(0);
	}

	if (setup)
		err = setup(data);
	if (write(ready[1], &err, sizeof(err)) != sizeof(err) || err)
		exit(KSFT_FAIL);
	close(ready[0]);
	close(ready[1]);

	/* Whoever reads the pid waits until nobody can write any more. */
	fclose(stdout);
	fclose(stderr);
}

/* Goes on in a child, which returns when it is terminated. */
static void keep(void)
{
	keep_begin(NULL, NULL);
	wait_until_terminated();
}

/* Nobody looks at the exit status of the child. */
static void complain(const char *what)
{
	int fd = open("/dev/kmsg", O_WRONLY);

	if (fd >= 0)
		dprintf(fd, "<3>WARNING: drm_drain_user: %s\n", what);
	exit(KSFT_FAIL);
}

static struct drm_mode_create_dumb create_dumb(int fd, __u32 width, __u32 height)
{
	struct drm_mode_create_dumb dumb = {
		.width = width,
		.height = height,
		.bpp = 32,
	};

	/* What it says depends on the driver. */
	if (ioctl(fd, DRM_IOCTL_MODE_CREATE_DUMB, &dumb))
		missing("dumb buffers");

	return dumb;
}

static int export_dumb(int fd)
{
	struct drm_mode_create_dumb dumb = create_dumb(fd, 64, 64);
	struct drm_prime_handle prime = {
		.handle = dumb.handle,
		.flags = DRM_CLOEXEC | DRM_RDWR,
	};

	if (ioctl(fd, DRM_IOCTL_PRIME_HANDLE_TO_FD, &prime))
		cannot("export");

	return prime.fd;
}

static void find_display(int fd, struct display *display)
{
	struct drm_mode_modeinfo modes[64];
	__u32 connectors[16], crtcs[16];
	struct drm_mode_card_res res = {
		.connector_id_ptr = ptr_u64(connectors),
		.count_connectors = ARRAY_LEN(connectors),
		.crtc_id_ptr = ptr_u64(crtcs),
		.count_crtcs = ARRAY_LEN(crtcs),
	};
	__u32 i;

	if (ioctl(fd, DRM_IOCTL_MODE_GETRESOURCES, &res))
		cannot("resources");

	for (i = 0; res.count_crtcs && i < res.count_connectors; i++) {
		struct drm_mode_get_connector connector = {
			.connector_id = connectors[i],
		};

		/* To ask for no modes is to have the connector probed. */
		if (ioctl(fd, DRM_IOCTL_MODE_GETCONNECTOR, &connector) ||
		    connector.connection != 1 || !connector.count_modes)
			continue;

		connector = (struct drm_mode_get_connector) {
			.connector_id = connectors[i],
			.modes_ptr = ptr_u64(modes),
			.count_modes = ARRAY_LEN(modes),
		};
		if (ioctl(fd, DRM_IOCTL_MODE_GETCONNECTOR, &connector) ||
		    !connector.count_modes)
			continue;

		display->connector = connectors[i];
		display->crtc = *(__u32 *)u64_ptr(res.crtc_id_ptr);
		display->mode = modes[0];
		return;
	}

	missing("connected display");
}

static void do_version(int fd)
{
	char name[64] = "";
	struct drm_version version = {
		.name = name,
		.name_len = sizeof(name) - 1,
	};

	if (ioctl(fd, DRM_IOCTL_VERSION, &version)) {
		perror("version");
		exit(KSFT_FAIL);
	}
	printf("%s\n", name);
}

static void do_mmap(int fd)
{
	struct drm_mode_create_dumb dumb = create_dumb(fd, 64, 64);
	struct drm_mode_map_dumb map = {
		.handle = dumb.handle,
	};
	char *mapping;

	if (ioctl(fd, DRM_IOCTL_MODE_MAP_DUMB, &map))
		cannot("map");
	mapping = mmap(NULL, dumb.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, map.offset);
	if (mapping == MAP_FAILED)
		cannot("mmap");
	close(fd);
	memset(mapping, 0x55, dumb.size);

	keep();
	/* It has to be there to the end. */
	memset(mapping, 0xaa, dumb.size);
}

static void do_export(int fd)
{
	export_dumb(fd);
	close(fd);
	keep();
}

static void do_import(int fd, int fd2)
{
	struct drm_prime_handle prime = {
		.fd = export_dumb(fd),
	};

	if (ioctl(fd2, DRM_IOCTL_PRIME_FD_TO_HANDLE, &prime)) {
		if (errno == ENODEV)	/* virtio-gpu has no use for other devices' memory */
			missing("import of foreign memory");
		cannot("import");
	}
	close(prime.fd);
	close(fd);
	keep();
}

static void do_lease(int fd)
{
	struct drm_mode_create_lease lease = {
		.flags = O_CLOEXEC,
	};
	struct display display;
	__u32 objects[2];

	find_display(fd, &display);
	objects[0] = display.connector;
	objects[1] = display.crtc;
	lease.object_ids = ptr_u64(objects);
	lease.object_count = ARRAY_LEN(objects);
	if (ioctl(fd, DRM_IOCTL_MODE_CREATE_LEASE, &lease))
		cannot("lease");
	close(fd);
	keep();
}

static __u32 create_fb(int fd, const struct drm_mode_modeinfo *mode)
{
	struct drm_mode_create_dumb dumb = create_dumb(fd, mode->hdisplay, mode->vdisplay);
	struct drm_mode_fb_cmd2 fb = {
		.width = mode->hdisplay,
		.height = mode->vdisplay,
		.pixel_format = DRM_FORMAT_XRGB8888,
		.handles = { dumb.handle },
		.pitches = { dumb.pitch },
	};

	if (ioctl(fd, DRM_IOCTL_MODE_ADDFB2, &fb))
		cannot("framebuffer");

	return fb.fb_id;
}

static void do_flip(int fd)
{
	struct drm_mode_crtc_page_flip flip = {
		.flags = DRM_MODE_PAGE_FLIP_EVENT,
	};
	struct drm_mode_crtc crtc = {
		.mode_valid = 1,
		.count_connectors = 1,
	};
	struct display display;
	int i;

	find_display(fd, &display);
	crtc.crtc_id = display.crtc;
	crtc.mode = display.mode;
	crtc.set_connectors_ptr = ptr_u64(&display.connector);
	crtc.fb_id = create_fb(fd, &display.mode);
	if (ioctl(fd, DRM_IOCTL_MODE_SETCRTC, &crtc))
		cannot("modeset");

	flip.crtc_id = display.crtc;
	flip.fb_id = create_fb(fd, &display.mode);
	/* The second one may find that the first is still busy, as it should be. */
	for (i = 0; i < 2; i++) {
		if (ioctl(fd, DRM_IOCTL_MODE_PAGE_FLIP, &flip) && errno != EBUSY)
			cannot("page flip");
	}
}

static void do_fbmap(int fd)
{
	const struct timespec delay = { .tv_nsec = 10 * 1000 * 1000 };
	struct fb_fix_screeninfo fix;
	unsigned char value = 0;
	size_t size = 65536;
	char *mapping;

	if (ioctl(fd, FBIOGET_FSCREENINFO, &fix))
		cannot("screen info");
	if (size > fix.smem_len)
		size = fix.smem_len;
	mapping = mmap(NULL, fix.smem_len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mapping == MAP_FAILED)
		cannot("mmap");
	close(fd);

	/* So that there is something to be drawn all the time */
	keep_begin(NULL, NULL);
	while (!terminated()) {
		memset(mapping, value++, size);
		nanosleep(&delay, NULL);
	}
}

#define DEVMEM_SIZE	65536

struct devmem {
	const char *param;
	unsigned char *memory;
};

static int give_devmem(void *data)
{
	struct devmem *devmem = data;
	int fd, i;

	devmem->memory = mmap(NULL, DEVMEM_SIZE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (devmem->memory == MAP_FAILED)
		return errno;
	for (i = 0; i < DEVMEM_SIZE; i++)
		devmem->memory[i] = i ^ i >> 8;

	fd = open(devmem->param, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	if (dprintf(fd, "%#lx\n", (unsigned long)devmem->memory) < 0)
		return errno;
	close(fd);

	return 0;
}

static void do_devmem(const char *param)
{
	struct devmem devmem = { .param = param };
	int i;

	keep_begin(give_devmem, &devmem);
	wait_until_terminated();

	for (i = 0; i < DEVMEM_SIZE; i++) {
		if (devmem.memory[i] != (unsigned char)(i ^ i >> 8))
			complain("memory was lost");
	}
}

int main(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "";
	int fd, fd2 = -1;

	if (argc != 3 + !strcmp(command, "import")) {
		fprintf(stderr,
			"usage: %s version|mmap|export|import|lease|flip|fbmap|devmem NODE [NODE2]\n",
			argv[0]);
		return KSFT_FAIL;
	}

	if (!strcmp(command, "devmem")) {
		do_devmem(argv[2]);
		return 0;
	}

	fd = open_node(argv[2]);
	if (argc > 3)
		fd2 = open_node(argv[3]);

	if (!strcmp(command, "version"))
		do_version(fd);
	else if (!strcmp(command, "mmap"))
		do_mmap(fd);
	else if (!strcmp(command, "export"))
		do_export(fd);
	else if (!strcmp(command, "import"))
		do_import(fd, fd2);
	else if (!strcmp(command, "lease"))
		do_lease(fd);
	else if (!strcmp(command, "flip"))
		do_flip(fd);
	else if (!strcmp(command, "fbmap"))
		do_fbmap(fd);
	else
		return KSFT_FAIL;

	return 0;
}
