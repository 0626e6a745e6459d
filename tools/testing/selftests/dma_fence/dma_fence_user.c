// SPDX-License-Identifier: GPL-2.0
/*
 * Use a fence whose driver is no more
 *
 * Usage: dma_fence_user [-u USE]... FENCE MODULE NODE [NODE2]
 *
 * Gets a fence from NODE, a device of MODULE, waits until it is signalled, closes everything
 * but the fence, unloads the module and those that only it has used, and then does with
 * the fence what a user can do. FENCE is
 *
 *   out        the out fence of a commit
 *   writeback  the out fence of a writeback job
 *   shown      what is left on a buffer that was shown
 *   vgem       a fence of vgem's, on a buffer
 *   left       the same, but the buffer is one of NODE2, a device of another driver, which
 *              lives, and the fence is taken from it after MODULE is gone
 *   sched      a fence of the GPU scheduler, with a driver that only tests
 *
 * and USE, by default all of them in this order:
 *
 *   info deadline merge syncobj poll close
 *
 * syncobj is for NODE2, if FENCE is not "left". What is done next goes to the
 * kernel's log before it is done. Exit status 4 says that the device does not
 * have what is needed.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/dma-buf.h>
#include <linux/sync_file.h>

#include <drm/drm.h>
#include <drm/drm_fourcc.h>
#include <drm/drm_mode.h>
#include <drm/vgem_drm.h>

#include "../kselftest.h"

#define ARRAY_LEN(a)	(sizeof(a) / sizeof((a)[0]))

static const char *module;
/* A device of a driver that stays, -1 if there is none */
static int living = -1;

static __noreturn void cannot(const char *what)
{
	int err = errno;

	fprintf(stderr, "%s: %s\n", what, strerror(err));
	exit(err == EOPNOTSUPP || err == ENOTTY ? KSFT_SKIP : KSFT_FAIL);
}

static __noreturn void wrong(const char *what)
{
	fprintf(stderr, "%s\n", what);
	exit(KSFT_FAIL);
}

static __noreturn void missing(const char *what)
{
	fprintf(stderr, "no %s\n", what);
	exit(KSFT_SKIP);
}

static void say(const char *what)
{
	int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	char line[64];
	int size = snprintf(line, sizeof(line), "<6>dma_fence: %s\n", what);

	/* Not stdio, which wants to know where in the file it is */
	if (fd < 0 || write(fd, line, size) != size)
		cannot("/dev/kmsg");
	close(fd);
}

static __u64 ptr_u64(const void *ptr)
{
	return (unsigned long)ptr;
}

static int fence_status(int fence)
{
	struct sync_file_info info = {};

	if (ioctl(fence, SYNC_IOC_FILE_INFO, &info))
		cannot("status of the fence");

	return info.status;
}

static void wait_for_fence(int fence)
{
	const struct timespec delay = { .tv_nsec = 10 * 1000 * 1000 };
	int i;

	/* Nobody polls, so that the first to do so is who has the fence later. */
	for (i = 0; i < 6000 && !fence_status(fence); i++)
		nanosleep(&delay, NULL);
	if (fence_status(fence) != 1) {
		fprintf(stderr, "the status of the fence is %d\n", fence_status(fence));
		exit(KSFT_FAIL);
	}
}

/* Display */

struct display {
	__u32 connector;
	__u32 crtc;
	__u32 plane;
	struct drm_mode_modeinfo mode;
};

struct commit {
	__u32 objects[8], counts[8], props[16];
	__u64 values[16];
	int nr_objects, nr_props;
};

static struct drm_mode_create_dumb create_dumb(int fd, __u32 width, __u32 height)
{
	struct drm_mode_create_dumb dumb = {
		.width = width,
		.height = height,
		.bpp = 32,
	};

	if (ioctl(fd, DRM_IOCTL_MODE_CREATE_DUMB, &dumb)) {
		if (errno == ENOSYS)
			missing("dumb buffers");
		cannot("dumb buffer");
	}

	return dumb;
}

static __u32 create_fb(int fd, const struct drm_mode_modeinfo *mode, __u32 *handle)
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
	if (handle)
		*handle = dumb.handle;

	return fb.fb_id;
}

static __u32 property(int fd, __u32 object, const char *name, __u64 *value)
{
	__u32 ids[64];
	__u64 values[64];
	struct drm_mode_obj_get_properties list = {
		.props_ptr = ptr_u64(ids),
		.prop_values_ptr = ptr_u64(values),
		.count_props = ARRAY_LEN(ids),
		.obj_id = object,
	};
	__u32 i;

	if (ioctl(fd, DRM_IOCTL_MODE_OBJ_GETPROPERTIES, &list))
		cannot("properties");
	for (i = 0; i < list.count_props; i++) {
		struct drm_mode_get_property prop = {
			.prop_id = ids[i],
		};

		if (ioctl(fd, DRM_IOCTL_MODE_GETPROPERTY, &prop) || strcmp(prop.name, name))
			continue;
		if (value)
			*value = values[i];
		return ids[i];
	}

	return 0;
}

/* The connector that is the display, or else the one that writes back */
static __u32 find_connector(int fd, struct display *display, int writeback)
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
		if (ioctl(fd, DRM_IOCTL_MODE_GETCONNECTOR, &connector))
			cannot("connector");
		if (writeback && connector.connector_type == DRM_MODE_CONNECTOR_WRITEBACK)
			return connectors[i];
		if (writeback || connector.connection != 1 || !connector.count_modes)
			continue;
		connector = (struct drm_mode_get_connector) {
			.connector_id = connectors[i],
			.modes_ptr = ptr_u64(modes),
			.count_modes = ARRAY_LEN(modes),
		};
		if (ioctl(fd, DRM_IOCTL_MODE_GETCONNECTOR, &connector) || !connector.count_modes)
			continue;
		display->crtc = crtcs[0];
		display->mode = modes[0];
		return connectors[i];
	}

	missing(writeback ? "writeback connector" : "connected display");
}

/* Returns the handle of the buffer that is shown */
static __u32 set_mode(int fd, struct display *display)
{
	struct drm_mode_crtc crtc = {
		.mode_valid = 1,
		.count_connectors = 1,
	};
	__u32 handle;

	display->connector = find_connector(fd, display, 0);
	crtc.crtc_id = display->crtc;
	crtc.mode = display->mode;
	crtc.set_connectors_ptr = ptr_u64(&display->connector);
	crtc.fb_id = create_fb(fd, &display->mode, &handle);
	if (ioctl(fd, DRM_IOCTL_MODE_SETCRTC, &crtc))
		cannot("modeset");

	return handle;
}

static void set_mode_atomic(int fd, struct display *display)
{
	struct drm_set_client_cap caps[] = {
		{ .capability = DRM_CLIENT_CAP_ATOMIC, .value = 1 },
		{ .capability = DRM_CLIENT_CAP_WRITEBACK_CONNECTORS, .value = 1 },
	};
	__u32 planes[64];
	struct drm_mode_get_plane_res res = {
		.plane_id_ptr = ptr_u64(planes),
		.count_planes = ARRAY_LEN(planes),
	};
	__u32 i;

	for (i = 0; i < ARRAY_LEN(caps); i++)
		if (ioctl(fd, DRM_IOCTL_SET_CLIENT_CAP, &caps[i]))
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

	wrong("no plane shows the buffer");
}

static void add_object(struct commit *commit, __u32 object)
{
	commit->objects[commit->nr_objects++] = object;
}

static void add_property(struct commit *commit, int fd, const char *name, __u64 value)
{
	__u32 id = property(fd, commit->objects[commit->nr_objects - 1], name, NULL);

	if (!id)
		missing(name);
	commit->props[commit->nr_props] = id;
	commit->values[commit->nr_props++] = value;
	commit->counts[commit->nr_objects - 1]++;
}

static void do_commit(struct commit *commit, int fd, __u32 flags)
{
	struct drm_mode_atomic atomic = {
		.flags = flags,
		.count_objs = commit->nr_objects,
		.objs_ptr = ptr_u64(commit->objects),
		.count_props_ptr = ptr_u64(commit->counts),
		.props_ptr = ptr_u64(commit->props),
		.prop_values_ptr = ptr_u64(commit->values),
	};

	if (ioctl(fd, DRM_IOCTL_MODE_ATOMIC, &atomic))
		cannot("commit");
}

static int out_fence(int fd)
{
	struct commit commit = {};
	struct display display;
	__s32 fence = -1;

	set_mode_atomic(fd, &display);
	add_object(&commit, display.plane);
	add_property(&commit, fd, "FB_ID", create_fb(fd, &display.mode, NULL));
	add_object(&commit, display.crtc);
	add_property(&commit, fd, "OUT_FENCE_PTR", ptr_u64(&fence));
	do_commit(&commit, fd, 0);
	wait_for_fence(fence);

	return fence;
}

static int writeback_fence(int fd)
{
	struct commit commit = {};
	struct display display;
	__s32 fence = -1;

	set_mode_atomic(fd, &display);
	add_object(&commit, find_connector(fd, &display, 1));
	add_property(&commit, fd, "CRTC_ID", display.crtc);
	add_property(&commit, fd, "WRITEBACK_FB_ID", create_fb(fd, &display.mode, NULL));
	add_property(&commit, fd, "WRITEBACK_OUT_FENCE_PTR", ptr_u64(&fence));
	do_commit(&commit, fd, DRM_MODE_ATOMIC_ALLOW_MODESET);
	wait_for_fence(fence);

	return fence;
}

/* Buffers */

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

static int export_fence(int buf)
{
	struct dma_buf_export_sync_file export = {
		.flags = DMA_BUF_SYNC_RW,
	};

	if (ioctl(buf, DMA_BUF_IOCTL_EXPORT_SYNC_FILE, &export))
		cannot("fence of a buffer");

	return export.fd;
}

static int buffer_fence(int buf)
{
	int fence = export_fence(buf);

	wait_for_fence(fence);

	return fence;
}

static int shown_fence(int fd)
{
	struct drm_mode_fb_dirty_cmd dirty = {};
	struct drm_mode_crtc crtc = {};
	struct display display;
	__u32 handle = set_mode(fd, &display);
	int buf = export_handle(fd, handle);
	int fence;

	crtc.crtc_id = display.crtc;
	if (ioctl(fd, DRM_IOCTL_MODE_GETCRTC, &crtc))
		cannot("what is shown");
	dirty.fb_id = crtc.fb_id;
	ioctl(fd, DRM_IOCTL_MODE_DIRTYFB, &dirty);
	fence = buffer_fence(buf);
	close(buf);

	return fence;
}

/* Returns the fence, as the device knows it */
static __u32 attach(int fd, __u32 handle)
{
	struct drm_vgem_fence_attach attach = {
		.handle = handle,
		.flags = VGEM_FENCE_WRITE,
	};

	if (ioctl(fd, DRM_IOCTL_VGEM_FENCE_ATTACH, &attach))
		cannot("fence of vgem");

	return attach.out_fence;
}

static void signal_fence(int fd, __u32 fence)
{
	struct drm_vgem_fence_signal signal = {
		.fence = fence,
	};

	if (ioctl(fd, DRM_IOCTL_VGEM_FENCE_SIGNAL, &signal))
		cannot("signal a fence of vgem");
}

static int vgem_fence(int fd)
{
	struct drm_mode_create_dumb dumb = create_dumb(fd, 64, 64);
	__u32 fence = attach(fd, dumb.handle);
	int buf = export_handle(fd, dumb.handle);
	int file = export_fence(buf);

	close(buf);
	signal_fence(fd, fence);
	wait_for_fence(file);

	return file;
}

/* Returns the dma-buf that the fence is left on */
static int left_fence(int fd)
{
	struct drm_mode_create_dumb dumb = create_dumb(living, 64, 64);
	struct drm_prime_handle prime = {
		.fd = export_handle(living, dumb.handle),
	};

	if (ioctl(fd, DRM_IOCTL_PRIME_FD_TO_HANDLE, &prime))
		cannot("import");
	signal_fence(fd, attach(fd, prime.handle));

	return prime.fd;
}

/* The device of the test driver gives what it is asked for at once. */
static int sched_fence(int fd)
{
	int fence = ioctl(fd, _IO('F', 0));

	if (fence < 0)
		cannot("fence of the scheduler");
	wait_for_fence(fence);

	return fence;
}

static const struct {
	const char *name;
	int (*get)(int fd);
} fences[] = {
	{ "out", out_fence },
	{ "writeback", writeback_fence },
	{ "shown", shown_fence },
	{ "vgem", vgem_fence },
	{ "left", left_fence },
	{ "sched", sched_fence },
};

static void use_info(int fence)
{
	struct sync_fence_info fences[4] = {};
	struct sync_file_info info = {
		.num_fences = ARRAY_LEN(fences),
		.sync_fence_info = ptr_u64(fences),
	};

	if (ioctl(fence, SYNC_IOC_FILE_INFO, &info))
		cannot("what the fence is");
	if (info.status != 1 || info.num_fences != 1)
		wrong("the fence is not one that is signalled");
	if (strcmp(fences[0].driver_name, "detached-driver"))
		wrong("the fence still has a driver");
}

static void use_deadline(int fence)
{
	struct sync_set_deadline deadline = {
		.deadline_ns = 1,
	};

	if (ioctl(fence, SYNC_IOC_SET_DEADLINE, &deadline))
		cannot("deadline");
}

static void use_merge(int fence)
{
	struct sync_merge_data merge = {
		.name = "dma_fence",
		.fd2 = fence,
	};

	if (ioctl(fence, SYNC_IOC_MERGE, &merge))
		cannot("merge");
	if (fence_status(merge.fence) != 1)
		wrong("the merged fence is not signalled");
	close(merge.fence);
}

static void use_syncobj(int fence)
{
	struct drm_syncobj_create create = {};
	struct drm_syncobj_handle handle = {
		.fd = fence,
		.flags = DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_IMPORT_SYNC_FILE,
	};
	struct drm_syncobj_wait wait = {
		.handles = ptr_u64(&handle.handle),
		.count_handles = 1,
	};
	struct drm_syncobj_destroy destroy = {};

	if (ioctl(living, DRM_IOCTL_SYNCOBJ_CREATE, &create))
		cannot("syncobj");
	handle.handle = create.handle;
	if (ioctl(living, DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE, &handle))
		cannot("import into a syncobj");
	if (ioctl(living, DRM_IOCTL_SYNCOBJ_WAIT, &wait))
		cannot("wait for a syncobj");
	destroy.handle = create.handle;
	if (ioctl(living, DRM_IOCTL_SYNCOBJ_DESTROY, &destroy))
		cannot("destroy a syncobj");
}

static void use_poll(int fence)
{
	struct pollfd pollfd = {
		.fd = fence,
		.events = POLLIN,
	};

	if (poll(&pollfd, 1, 0) != 1 || pollfd.revents != POLLIN)
		wrong("poll does not say that the fence is signalled");
}

static void use_close(int fence)
{
	close(fence);
	/* Until what was freed is free */
	syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
}

static const struct {
	const char *name;
	void (*run)(int fence);
} uses[] = {
	{ "info", use_info },
	{ "deadline", use_deadline },
	{ "merge", use_merge },
	{ "syncobj", use_syncobj },
	{ "poll", use_poll },
	{ "close", use_close },
};

static void run_modprobe(const char *name)
{
	pid_t pid = fork();

	if (pid < 0)
		cannot("fork");
	if (!pid) {
		/* It fails, and says so, if others use what the module has used. */
		dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
		execlp("modprobe", "modprobe", "-r", name, NULL);
		_exit(KSFT_FAIL);
	}
	if (waitpid(pid, NULL, 0) != pid)
		cannot("wait");
}

static void unload(void)
{
	char line[1024], used[16][64], *users;
	FILE *modules = fopen("/proc/modules", "re");
	int i, nr_used = 0;

	if (!modules)
		cannot("/proc/modules");
	while (nr_used < ARRAY_LEN(used) && fgets(line, sizeof(line), modules)) {
		if (sscanf(line, "%63s %*s %*s", used[nr_used]) != 1)
			continue;
		/* NAME SIZE REFERENCES USER,USER,... */
		users = line;
		for (i = 0; i < 3 && users; i++)
			users = strchr(users + 1, ' ');
		if (!users)
			continue;
		for (users = strtok(users, ", "); users; users = strtok(NULL, ", "))
			if (!strcmp(users, module))
				break;
		nr_used += !!users;
	}
	fclose(modules);

	if (syscall(SYS_delete_module, module, O_NONBLOCK))
		cannot("delete the module");
	for (i = 0; i < nr_used; i++)
		run_modprobe(used[i]);
}

static __noreturn void wrong_usage(void)
{
	fprintf(stderr, "usage: dma_fence_user [-u USE]... FENCE MODULE NODE [NODE2]\n");
	exit(KSFT_FAIL);
}

static int open_node(const char *node)
{
	int fd = open(node, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		cannot(node);

	return fd;
}

int main(int argc, char **argv)
{
	unsigned int wanted = 0, i, kind;
	int opt, fd, fence;

	while ((opt = getopt(argc, argv, "u:")) != -1) {
		for (i = 0; i < ARRAY_LEN(uses) && strcmp(optarg ?: "", uses[i].name); i++)
			;
		if (opt != 'u' || i == ARRAY_LEN(uses))
			wrong_usage();
		wanted |= 1u << i;
	}
	argv += optind;
	argc -= optind;
	if (argc != 3 && argc != 4)
		wrong_usage();
	for (kind = 0; kind < ARRAY_LEN(fences) && strcmp(argv[0], fences[kind].name); kind++)
		;
	if (kind == ARRAY_LEN(fences))
		wrong_usage();
	module = argv[1];
	if (argc == 4)
		living = open_node(argv[3]);

	fd = open_node(argv[2]);
	fence = fences[kind].get(fd);
	/* Otherwise the file of a master would have to be the last one. */
	close(fd);
	unload();
	if (fences[kind].get == sched_fence && !access("/sys/module/gpu_sched/initstate", F_OK))
		wrong("gpu_sched is still there");
	say("the driver is gone");
	if (fences[kind].get == left_fence) {
		int buf = fence;

		say("next: left");
		fence = buffer_fence(buf);
		close(buf);
	}
	for (i = 0; i < ARRAY_LEN(uses); i++) {
		if (wanted && !(wanted & 1u << i))
			continue;
		/* Of NODE2, "left" wants a buffer, and nothing else. */
		if (uses[i].run == use_syncobj && (living < 0 || fences[kind].get == left_fence))
			continue;
		char text[32];

		snprintf(text, sizeof(text), "next: %s", uses[i].name);
		say(text);
		uses[i].run(fence);
	}
	say("done");

	return 0;
}
