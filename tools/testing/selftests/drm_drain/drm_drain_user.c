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
#include <unistd.h>

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

static void __attribute__((noreturn)) cannot(const char *what)
{
	int err = errno;
	/* Which a driver says that does not have this */
	int missing = err == ENOSYS || err == EOPNOTSUPP || err == ENOTTY ||
		      err == EINVAL || err == EACCES;

	fprintf(stderr, "%s: %s\n", what, strerror(err));
	exit(missing ? KSFT_SKIP : KSFT_FAIL);
}

static void __attribute__((noreturn)) missing(const char *what)
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

static volatile sig_atomic_t terminated;

static void terminate(int sig)
{
	terminated = 1;
}

/* Goes on in a child, which returns when it is terminated. */
static void keep(void)
{
	sigset_t block, wait;
	pid_t pid;

	signal(SIGTERM, terminate);
	sigemptyset(&block);
	sigaddset(&block, SIGTERM);
	sigprocmask(SIG_BLOCK, &block, &wait);
	sigdelset(&wait, SIGTERM);

	pid = fork();
	if (pid < 0) {
		perror("fork");
		exit(KSFT_FAIL);
	}
	if (pid) {
		printf("%d\n", pid);
		exit(0);
	}

	/* Whoever reads the pid waits until nobody can write any more. */
	fclose(stdout);
	fclose(stderr);
	while (!terminated)
		sigsuspend(&wait);
}

static struct drm_mode_create_dumb create_dumb(int fd, __u32 width, __u32 height)
{
	struct drm_mode_create_dumb dumb = {
		.width = width,
		.height = height,
		.bpp = 32,
	};

	if (ioctl(fd, DRM_IOCTL_MODE_CREATE_DUMB, &dumb))
		cannot("dumb buffer");

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

int main(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "";
	int fd, fd2 = -1;

	if (argc != 3 + !strcmp(command, "import")) {
		fprintf(stderr, "usage: %s version|mmap|export|import|lease|flip NODE [NODE2]\n",
			argv[0]);
		return KSFT_FAIL;
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
	else
		return KSFT_FAIL;

	return 0;
}
