// SPDX-License-Identifier: GPL-2.0
/*
 * What a user of a DRM device can have of it when the file is closed, or is not
 *
 * Usage: drm_drain_user [-d MODULE | -x MODULE] COMMAND NODE [NODE2]
 *
 *   version  print the name of the driver
 *   flip     show a buffer, start a nonblocking page flip, and end at once
 *
 *   file     keep the file
 *   mode     switch the display on, keep the file
 *   probe    probe a connector, keep the file
 *   poll     poll NODE until it hangs up
 *   mmap     map a dumb buffer, close the file
 *   export   export a dumb buffer, close the file, keep the dma-buf
 *   mapbuf   the same, map the dma-buf, and close that too
 *   import   export a dumb buffer, import it into NODE2, keep only the file of that
 *   lease    lease a connector and a CRTC, keep the file of the lease
 *   fb       keep the file of the framebuffer device NODE
 *   fbmap    map the framebuffer device NODE, close the file, keep writing to it
 *   syncobj  keep the file of a syncobj, close the file
 *   outfence keep the sync_file of a commit that is done, close the file
 *   infence  keep a fence that a commit waits for, and the file
 *   closing  keep such a fence, while another process closes the file
 *   fence    keep a fence on a buffer (of vgem), its sync_file, and the file
 *   open     keep the file of anything else
 *   devmem   write to NODE where 64 KiB of memory are, which the device takes
 *   asleep   wait for signals that are the address NODE
 *   running  read from /dev/urandom with the address NODE in registers
 *   copying  read from itself, which takes long, with the address NODE in what it has copied
 *
 * The last three end with SIGTERM. The others from file on leave a process behind that
 * keeps what it was told to until it gets SIGTERM, and print its pid. The process uses
 * it a last time then, and writes a warning to the kernel's log if that fails. With -d,
 * there is no such process: the command itself calls delete_module(), wants that to be
 * refused, uses what it has once more, and ends. With -x, it becomes rmmod, which
 * inherits all the files.
 *
 * Exit status 4 says that the device does not have what is needed.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/dma-buf.h>
#include <linux/fb.h>
#include <linux/sync_file.h>

#include <drm/drm.h>
#include <drm/drm_fourcc.h>
#include <drm/drm_mode.h>
#include <drm/vgem_drm.h>

#include "kselftest.h"

#define ARRAY_LEN(a)	(sizeof(a) / sizeof((a)[0]))

#define SW_SYNC		"/sys/kernel/debug/sync/sw_sync"

/* As in drivers/dma-buf/sw_sync.c, there is no header */
struct sw_sync_create_fence_data {
	__u32 value;
	char name[32];
	__s32 fence;
};

#define SW_SYNC_IOC_CREATE_FENCE	_IOWR('W', 0, struct sw_sync_create_fence_data)
#define SW_SYNC_IOC_INC			_IOW('W', 1, __u32)

struct display {
	__u32 connector;
	__u32 crtc;
	__u32 plane;
	struct drm_mode_modeinfo mode;
};

static const char *delete_name, *rmmod_name;

static __noreturn void cannot(const char *what)
{
	int err = errno;
	/* Which a driver says that does not have this */
	int missing = err == EOPNOTSUPP || err == ENOTTY;

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

	if (delete_name)
		return;

	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigwait(&mask, &sig);
}

static __noreturn void become_rmmod(void)
{
	int fd, flags;

	for (fd = STDERR_FILENO + 1; fd < 64; fd++) {
		flags = fcntl(fd, F_GETFD);
		if (flags >= 0)
			fcntl(fd, F_SETFD, flags & ~FD_CLOEXEC);
	}
	execlp("rmmod", "rmmod", rmmod_name, NULL);
	perror("rmmod");
	exit(KSFT_SKIP);
}

static void delete_refused(void)
{
	if (!syscall(SYS_delete_module, delete_name, O_NONBLOCK)) {
		fprintf(stderr, "the module could be deleted\n");
		exit(KSFT_FAIL);
	}
	if (errno != EWOULDBLOCK && errno != EBUSY) {
		perror("delete_module");
		exit(KSFT_FAIL);
	}
}

/* Goes on in a child, after setup() if there is one. */
static void keep_begin(int (*setup)(void *), void *data)
{
	int ready[2], err = 0;
	sigset_t block;
	pid_t pid;

	if (delete_name || rmmod_name) {
		err = setup ? setup(data) : 0;
		if (err) {
			errno = err;
			cannot("set up");
		}
		if (rmmod_name)
			become_rmmod();
		delete_refused();
		return;
	}

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
	const char *error = strerror(errno);
	int fd = open("/dev/kmsg", O_WRONLY);
	char line[128];
	int size;

	size = snprintf(line, sizeof(line), "<3>WARNING: drm_drain_user: %s: %s\n", what, error);
	/* stdio would ask where in the file it is, which this file does not tell. */
	if (write(fd, line, size) != size)
		abort();
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

static int export_handle(int fd, __u32 handle)
{
	struct drm_prime_handle prime = {
		.handle = handle,
		.flags = DRM_CLOEXEC | DRM_RDWR,
	};

	if (ioctl(fd, DRM_IOCTL_PRIME_HANDLE_TO_FD, &prime))
		cannot("export");

	return prime.fd;
}

static int export_dumb(int fd, __u64 *size)
{
	struct drm_mode_create_dumb dumb = create_dumb(fd, 64, 64);

	*size = dumb.size;

	return export_handle(fd, dumb.handle);
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

static void set_mode(int fd, struct display *display)
{
	struct drm_mode_crtc crtc = {
		.mode_valid = 1,
		.count_connectors = 1,
	};

	find_display(fd, display);
	crtc.crtc_id = display->crtc;
	crtc.mode = display->mode;
	crtc.set_connectors_ptr = ptr_u64(&display->connector);
	crtc.fb_id = create_fb(fd, &display->mode);
	if (ioctl(fd, DRM_IOCTL_MODE_SETCRTC, &crtc))
		cannot("modeset");
}

/* The display is on then, and its primary plane is known. */
static void set_mode_atomic(int fd, struct display *display)
{
	struct drm_set_client_cap cap = {
		.capability = DRM_CLIENT_CAP_ATOMIC,
		.value = 1,
	};
	__u32 planes[64];
	struct drm_mode_get_plane_res res = {
		.plane_id_ptr = ptr_u64(planes),
		.count_planes = ARRAY_LEN(planes),
	};
	__u32 i;

	if (ioctl(fd, DRM_IOCTL_SET_CLIENT_CAP, &cap))
		cannot("atomic");
	set_mode(fd, display);
	if (ioctl(fd, DRM_IOCTL_MODE_GETPLANERESOURCES, &res))
		cannot("planes");
	for (i = 0; i < res.count_planes; i++) {
		struct drm_mode_get_plane plane = {
			.plane_id = planes[i],
		};

		if (!ioctl(fd, DRM_IOCTL_MODE_GETPLANE, &plane) &&
		    plane.crtc_id == display->crtc) {
			display->plane = planes[i];
			return;
		}
	}

	fprintf(stderr, "no plane shows the buffer\n");
	exit(KSFT_FAIL);
}

static __u32 property(int fd, __u32 object, __u32 type, const char *name)
{
	__u32 ids[64];
	__u64 values[64];
	struct drm_mode_obj_get_properties list = {
		.props_ptr = ptr_u64(ids),
		.prop_values_ptr = ptr_u64(values),
		.count_props = ARRAY_LEN(ids),
		.obj_id = object,
		.obj_type = type,
	};
	__u32 i;

	if (ioctl(fd, DRM_IOCTL_MODE_OBJ_GETPROPERTIES, &list))
		cannot("properties");
	for (i = 0; i < list.count_props; i++) {
		struct drm_mode_get_property prop = {
			.prop_id = ids[i],
		};

		if (!ioctl(fd, DRM_IOCTL_MODE_GETPROPERTY, &prop) && !strcmp(prop.name, name))
			return ids[i];
	}

	missing(name);
}

/* Show another buffer when there is in_fence (if not -1), give *out_fence (if not NULL) */
static void commit(int fd, struct display *display, int in_fence, __s32 *out_fence)
{
	__u32 fb_id = property(fd, display->plane, DRM_MODE_OBJECT_PLANE, "FB_ID");
	__u32 objects[2] = { display->plane };
	__u32 counts[2] = { 1 };
	__u32 props[3] = { fb_id };
	__u64 values[3] = { create_fb(fd, &display->mode) };
	struct drm_mode_atomic atomic = {
		.count_objs = 1,
		.objs_ptr = ptr_u64(objects),
		.count_props_ptr = ptr_u64(counts),
		.props_ptr = ptr_u64(props),
		.prop_values_ptr = ptr_u64(values),
	};

	if (in_fence >= 0) {
		props[1] = property(fd, display->plane, DRM_MODE_OBJECT_PLANE, "IN_FENCE_FD");
		values[1] = in_fence;
		counts[0] = 2;
		atomic.flags |= DRM_MODE_ATOMIC_NONBLOCK;
	}
	if (out_fence) {
		objects[1] = display->crtc;
		props[counts[0]] = property(fd, display->crtc, DRM_MODE_OBJECT_CRTC,
					    "OUT_FENCE_PTR");
		values[counts[0]] = ptr_u64(out_fence);
		counts[1] = 1;
		atomic.count_objs = 2;
	}
	if (ioctl(fd, DRM_IOCTL_MODE_ATOMIC, &atomic))
		cannot("commit");
}

static int fence_status(int fd)
{
	struct sync_file_info info = {};

	return ioctl(fd, SYNC_IOC_FILE_INFO, &info) ? -errno : info.status;
}

static int version(int fd, char *name, size_t size)
{
	struct drm_version version = {
		.name = name,
		.name_len = size - 1,
	};

	return ioctl(fd, DRM_IOCTL_VERSION, &version);
}

static void do_version(int fd)
{
	char name[64] = "";

	if (version(fd, name, sizeof(name))) {
		perror("version");
		exit(KSFT_FAIL);
	}
	printf("%s\n", name);
}

static void do_flip(int fd)
{
	struct drm_mode_crtc_page_flip flip = {
		.flags = DRM_MODE_PAGE_FLIP_EVENT,
	};
	struct display display;
	int i;

	set_mode(fd, &display);
	flip.crtc_id = display.crtc;
	flip.fb_id = create_fb(fd, &display.mode);
	/* The second one may find that the first is still busy, as it should be. */
	for (i = 0; i < 2; i++) {
		if (ioctl(fd, DRM_IOCTL_MODE_PAGE_FLIP, &flip) && errno != EBUSY)
			cannot("page flip");
	}
}

static void do_file(int fd)
{
	char name[64];

	keep();
	if (version(fd, name, sizeof(name)))
		complain("version");
}

static void do_mode(int fd)
{
	struct display display;

	set_mode(fd, &display);
	keep();
}

static void do_probe(int fd)
{
	struct drm_mode_get_connector connector = {};
	struct display display;

	find_display(fd, &display);
	keep();
	connector.connector_id = display.connector;
	if (ioctl(fd, DRM_IOCTL_MODE_GETCONNECTOR, &connector))
		complain("probe");
}

static void do_poll(int fd)
{
	struct pollfd pollfd = { .fd = fd };
	sigset_t none;

	sigemptyset(&none);
	keep_begin(NULL, NULL);
	if (ppoll(&pollfd, 1, NULL, &none) != 1 || !(pollfd.revents & POLLHUP))
		complain("poll");
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
	struct dma_buf_sync sync = {
		.flags = DMA_BUF_SYNC_RW | DMA_BUF_SYNC_START,
	};
	__u64 size;
	int buf = export_dumb(fd, &size);

	close(fd);
	keep();
	if (lseek(buf, 0, SEEK_END) != (off_t)size)
		complain("size of the dma-buf");
	if (ioctl(buf, DMA_BUF_IOCTL_SYNC, &sync))
		complain("begin access to the dma-buf");
	sync.flags = DMA_BUF_SYNC_RW | DMA_BUF_SYNC_END;
	if (ioctl(buf, DMA_BUF_IOCTL_SYNC, &sync))
		complain("end access to the dma-buf");
}

static void do_mapbuf(int fd)
{
	__u64 size;
	int buf = export_dumb(fd, &size);
	char *mapping;

	close(fd);
	mapping = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, buf, 0);
	if (mapping == MAP_FAILED)
		cannot("mmap");
	close(buf);
	memset(mapping, 0x55, size);

	keep();
	memset(mapping, 0xaa, size);
}

static void do_import(int fd, int fd2)
{
	__u64 size;
	struct drm_prime_handle prime = {
		.fd = export_dumb(fd, &size),
		.flags = DRM_CLOEXEC | DRM_RDWR,
	};

	/* What a driver says that has no use for other devices' memory depends on the driver. */
	if (ioctl(fd2, DRM_IOCTL_PRIME_FD_TO_HANDLE, &prime))
		missing("import of foreign memory");
	close(prime.fd);
	close(fd);
	keep();
	/* What it came from is its exporter's dma-buf again. */
	if (ioctl(fd2, DRM_IOCTL_PRIME_HANDLE_TO_FD, &prime))
		complain("export the imported buffer");
}

static void do_lease(int fd)
{
	struct drm_mode_create_lease lease = {
		.flags = O_CLOEXEC,
	};
	struct display display;
	__u32 objects[2];
	char name[64];

	find_display(fd, &display);
	objects[0] = display.connector;
	objects[1] = display.crtc;
	lease.object_ids = ptr_u64(objects);
	lease.object_count = ARRAY_LEN(objects);
	if (ioctl(fd, DRM_IOCTL_MODE_CREATE_LEASE, &lease))
		cannot("lease");
	close(fd);
	keep();
	if (version(lease.fd, name, sizeof(name)))
		complain("version");
}

static void do_fb(int fd)
{
	struct fb_fix_screeninfo fix;

	keep();
	if (ioctl(fd, FBIOGET_FSCREENINFO, &fix))
		complain("screen info");
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
	memset(mapping, value++, size);
	keep_begin(NULL, NULL);
	do {
		memset(mapping, value++, size);
		nanosleep(&delay, NULL);
	} while (!delete_name && !terminated());
}

static void do_syncobj(int fd)
{
	struct drm_syncobj_create create = {};
	struct drm_syncobj_handle handle = {};

	if (ioctl(fd, DRM_IOCTL_SYNCOBJ_CREATE, &create))
		cannot("syncobj");
	handle.handle = create.handle;
	if (ioctl(fd, DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, &handle)) {
		perror("syncobj file");
		exit(KSFT_FAIL);
	}
	close(fd);
	keep();
}

static void do_outfence(int fd)
{
	const struct timespec delay = { .tv_nsec = 10 * 1000 * 1000 };
	struct display display;
	__s32 fence = -1;
	int i;

	set_mode_atomic(fd, &display);
	commit(fd, &display, -1, &fence);
	for (i = 0; i < 500 && !fence_status(fence); i++)
		nanosleep(&delay, NULL);
	if (fence_status(fence) != 1) {
		fprintf(stderr, "the status of the fence is %d\n", fence_status(fence));
		exit(KSFT_FAIL);
	}
	close(fd);
	/* The lock of the fence is in the device, so it must not be asked or polled later. */
	keep();
}

/*
 * A fence of ours, for which a commit waits then. Returns what signals it. When a process
 * ends, its files are released in the reverse order, and this has to be the first one:
 * the device's file waits for the commit.
 */
static int commit_waiting(int fd)
{
	struct sw_sync_create_fence_data data = {
		.value = 1,
		.name = "drm_drain_user",
	};
	int timeline = open(SW_SYNC, O_RDWR | O_CLOEXEC);
	struct display display;

	if (timeline < 0)
		missing("CONFIG_SW_SYNC");
	set_mode_atomic(fd, &display);
	if (ioctl(timeline, SW_SYNC_IOC_CREATE_FENCE, &data)) {
		perror("sw_sync");
		exit(KSFT_FAIL);
	}
	commit(fd, &display, data.fence, NULL);
	close(data.fence);

	return timeline;
}

static void do_infence(int fd)
{
	int timeline = commit_waiting(fd);
	__u32 one = 1;
	char name[64];

	keep();
	if (version(fd, name, sizeof(name)))
		complain("version");
	if (ioctl(timeline, SW_SYNC_IOC_INC, &one))
		complain("signal the fence");
}

struct closing {
	int fd;
	int timeline;
	pid_t pid;
};

/* That process is inside close() for as long as the commit waits. */
static int start_closing(void *data)
{
	const struct timespec delay = { .tv_nsec = 100 * 1000 * 1000 };
	struct closing *closing = data;

	closing->pid = fork();
	if (closing->pid < 0)
		return errno;
	if (!closing->pid) {
		sigset_t mask;

		close(closing->timeline);
		fclose(stdout);
		fclose(stderr);
		sigfillset(&mask);
		sigprocmask(SIG_SETMASK, &mask, NULL);
		nanosleep(&delay, NULL);
		close(closing->fd);
		_exit(0);
	}
	close(closing->fd);

	return 0;
}

static void do_closing(int fd)
{
	const struct timespec delay = { .tv_nsec = 500 * 1000 * 1000 };
	struct closing closing = {
		.fd = fd,
		.timeline = commit_waiting(fd),
	};
	__u32 one = 1;

	keep_begin(start_closing, &closing);
	nanosleep(&delay, NULL);
	wait_until_terminated();
	if (waitpid(closing.pid, NULL, WNOHANG))
		complain("the file was closed while a commit waits");
	if (ioctl(closing.timeline, SW_SYNC_IOC_INC, &one))
		complain("signal the fence");
	if (waitpid(closing.pid, NULL, 0) != closing.pid)
		complain("wait until the file is closed");
}

static void do_fence(int fd)
{
	struct drm_mode_create_dumb dumb = create_dumb(fd, 64, 64);
	struct drm_vgem_fence_attach attach = {
		.handle = dumb.handle,
		.flags = VGEM_FENCE_WRITE,
	};
	struct drm_vgem_fence_signal signal = {};
	struct dma_buf_export_sync_file sync = {
		.flags = DMA_BUF_SYNC_RW,
	};
	int buf;

	if (ioctl(fd, DRM_IOCTL_VGEM_FENCE_ATTACH, &attach))
		cannot("fence");
	buf = export_handle(fd, dumb.handle);
	if (ioctl(buf, DMA_BUF_IOCTL_EXPORT_SYNC_FILE, &sync)) {
		perror("sync_file");
		exit(KSFT_FAIL);
	}

	keep();
	signal.fence = attach.out_fence;
	/* It may have timed out meanwhile. */
	if (ioctl(fd, DRM_IOCTL_VGEM_FENCE_SIGNAL, &signal) && errno != ETIMEDOUT)
		complain("signal the fence");
	if (!fence_status(sync.fd))
		complain("fence");
	/* Its last user must not outlive the module. */
	close(sync.fd);
	close(buf);
	close(fd);
}

static void do_open(int fd)
{
	struct stat stat;

	keep();
	if (fstat(fd, &stat))
		complain("stat");
}

static const struct command {
	const char *name;
	void (*run)(int fd);
} commands[] = {
	{ "version", do_version },
	{ "flip", do_flip },
	{ "file", do_file },
	{ "mode", do_mode },
	{ "probe", do_probe },
	{ "poll", do_poll },
	{ "mmap", do_mmap },
	{ "export", do_export },
	{ "mapbuf", do_mapbuf },
	{ "lease", do_lease },
	{ "fb", do_fb },
	{ "fbmap", do_fbmap },
	{ "syncobj", do_syncobj },
	{ "outfence", do_outfence },
	{ "infence", do_infence },
	{ "closing", do_closing },
	{ "fence", do_fence },
	{ "open", do_open },
};

static __noreturn void wrong_usage(void)
{
	fprintf(stderr, "usage: drm_drain_user [-d MODULE|-x MODULE] COMMAND NODE [NODE2]\n");
	exit(KSFT_FAIL);
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

/* The set of signals is on the stack in the kernel. */
static void do_asleep(unsigned long addr)
{
	syscall(SYS_rt_sigtimedwait, &addr, NULL, NULL, sizeof(addr));
}

/* Hardly ever in user mode */
static void do_running(unsigned long addr)
{
	static char buf[1 << 20];
	int i, fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
	struct iovec iov[64];

	for (i = 0; i < ARRAY_LEN(iov); i++)
		iov[i] = (struct iovec){ buf, sizeof(buf) };
	while (syscall(SYS_readv, fd, iov, ARRAY_LEN(iov), addr, addr, addr) > 0)
		;
}

/* The kernel has up to 8 vectors on its stack, and does not look at what is after the first. */
static void do_copying(unsigned long addr)
{
	static char buf[1 << 20];
	struct iovec local[1024], remote[8];
	int i;

	for (i = 0; i < ARRAY_LEN(local); i++)
		local[i] = (struct iovec){ buf, sizeof(buf) };
	for (i = 0; i < ARRAY_LEN(remote); i++)
		remote[i] = (struct iovec){ (void *)addr, 0 };
	remote[0].iov_len = sizeof(buf) * ARRAY_LEN(local);
	remote[0].iov_base = mmap(NULL, remote[0].iov_len, PROT_READ,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	while (process_vm_readv(getpid(), local, ARRAY_LEN(local),
				remote, ARRAY_LEN(remote), 0) > 0)
		;
}

static const struct {
	const char *name;
	void (*run)(unsigned long addr);
} addr_commands[] = {
	{ "asleep", do_asleep },
	{ "running", do_running },
	{ "copying", do_copying },
};

int main(int argc, char **argv)
{
	unsigned int i;
	int opt;

	while ((opt = getopt(argc, argv, "d:x:")) != -1) {
		switch (opt) {
		case 'd':
			delete_name = optarg;
			break;
		case 'x':
			rmmod_name = optarg;
			break;
		default:
			wrong_usage();
		}
	}
	argv += optind;
	argc -= optind;
	if (argc < 2)
		wrong_usage();

	if (!strcmp(argv[0], "import")) {
		if (argc != 3)
			wrong_usage();
		do_import(open_node(argv[1]), open_node(argv[2]));
		return 0;
	}
	if (argc != 2)
		wrong_usage();
	if (!strcmp(argv[0], "devmem")) {
		do_devmem(argv[1]);
		return 0;
	}
	for (i = 0; i < ARRAY_LEN(addr_commands); i++) {
		if (!strcmp(argv[0], addr_commands[i].name)) {
			/* Not where a section begins, but in it */
			addr_commands[i].run(strtoul(argv[1], NULL, 0) + 8);
			return KSFT_FAIL;
		}
	}
	for (i = 0; i < ARRAY_LEN(commands); i++) {
		if (!strcmp(argv[0], commands[i].name)) {
			commands[i].run(open_node(argv[1]));
			return 0;
		}
	}
	wrong_usage();
}
