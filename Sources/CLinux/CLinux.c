#define _GNU_SOURCE
#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/openat2.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/quota.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

/// The next file that is opened gets the lowest free number. Were standard error closed at the start, that would be an image
/// or the log, and what is printed would land in it. As glibc does for set-user-id programs: what is read from or written
/// to these fails as it does without them.
__attribute__((constructor)) static void occupy_standard_streams(void) {
    for (int stream = STDIN_FILENO; stream <= STDERR_FILENO; stream++) {
        if (fcntl(stream, F_GETFD) != -1) continue;
        if (open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0) return;
    }
}

const int linux_at_empty_path = AT_EMPTY_PATH;
const int linux_cap_chown = CAP_CHOWN;
const int linux_cap_fowner = CAP_FOWNER;
const int linux_cap_sys_resource = CAP_SYS_RESOURCE;
const int linux_cap_sys_ptrace = CAP_SYS_PTRACE;
const int linux_cap_dac_override = CAP_DAC_OVERRIDE;
const int linux_cap_setuid = CAP_SETUID;
const int linux_o_direct = O_DIRECT;
const int linux_seek_data = SEEK_DATA;
const int linux_seek_hole = SEEK_HOLE;
const int linux_o_path = O_PATH;
const int linux_o_tmpfile = O_TMPFILE;
const uint64_t linux_resolve_beneath = RESOLVE_BENEATH;
const uint64_t linux_resolve_no_symlinks = RESOLVE_NO_SYMLINKS;
const uint64_t linux_resolve_no_xdev = RESOLVE_NO_XDEV;
const int linux_rwf_dsync = RWF_DSYNC;
const int linux_rwf_nowait = RWF_NOWAIT;
const int linux_rwf_sync = RWF_SYNC;
const long linux_utime_now = UTIME_NOW;
const long linux_utime_omit = UTIME_OMIT;

int linux_birth_time(int file, int64_t *seconds, uint32_t *nanoseconds) {
    struct statx status;
    if (statx(file, "", AT_EMPTY_PATH, STATX_BTIME, &status) != 0) {
        return -1;
    }
    if (!(status.stx_mask & STATX_BTIME)) {
        errno = EOPNOTSUPP;
        return -1;
    }
    *seconds = status.stx_btime.tv_sec;
    *nanoseconds = status.stx_btime.tv_nsec;
    return 0;
}

int linux_capget(uint64_t sets[3]) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_capget, &header, data) != 0) return -1;
    sets[0] = data[0].effective | (uint64_t)data[1].effective << 32;
    sets[1] = data[0].permitted | (uint64_t)data[1].permitted << 32;
    sets[2] = data[0].inheritable | (uint64_t)data[1].inheritable << 32;
    return 0;
}

int linux_capset(const uint64_t sets[3]) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    for (int half = 0; half < 2; half++) {
        data[half].effective = (uint32_t)(sets[0] >> 32 * half);
        data[half].permitted = (uint32_t)(sets[1] >> 32 * half);
        data[half].inheritable = (uint32_t)(sets[2] >> 32 * half);
    }
    return (int)syscall(SYS_capset, &header, data);
}

uint32_t linux_device_major(uint64_t device) {
    return major(device);
}

uint32_t linux_device_minor(uint64_t device) {
    return minor(device);
}

uint64_t linux_device_number(uint32_t major, uint32_t minor) {
    return makedev(major, minor);
}

int linux_faccessat2(int directory, const char *path, int mode, int flags) {
    return (int)syscall(SYS_faccessat2, directory, path, mode, flags);
}

ssize_t linux_fgetxattr(int file, const char *name, void *value, size_t size) {
    return fgetxattr(file, name, value, size);
}

int64_t linux_file_system_type(int file) {
    struct statfs status;
    return fstatfs(file, &status) == 0 ? status.f_type : -1;
}

ssize_t linux_getdents64(int directory, void *buffer, size_t count) {
    return syscall(SYS_getdents64, directory, buffer, count);
}

ssize_t linux_getxattr(const char *path, const char *name, void *value, size_t size) {
    return getxattr(path, name, value, size);
}

enum { mostHeaps = 4 };

void linux_keep_freed_memory(size_t kept) {
    // The largest threshold that malloc() takes: half of one of its heaps.
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, (int)kept);
    // By default eight for each processor, each of which keeps what it has.
    mallopt(M_ARENA_MAX, mostHeaps);
}

struct heap_cut { sem_t allocated, mayFree; };

static void *cut_top_of_heap(void *argument) {
    struct heap_cut *cut = argument;
    // Of a size at which free() looks at the top of the heap.
    void *volatile memory = malloc(256 << 10);
    sem_post(&cut->allocated);
    while (sem_wait(&cut->mayFree) != 0) {}
    free(memory);
    return NULL;
}

void linux_give_back_memory(size_t kept) {
    malloc_trim(0);
    // That leaves the tops of all heaps but the first, up to the threshold. free() cuts the top of its thread's heap. A
    // new thread gets a heap that no thread has, else the next in turn: none may end before all have theirs.
    enum { most = 2 * mostHeaps };
    struct heap_cut cut;
    pthread_t threads[most];
    unsigned started = 0;
    mallopt(M_TRIM_THRESHOLD, 0);
    sem_init(&cut.allocated, 0, 0);
    sem_init(&cut.mayFree, 0, 0);
    while (started < most && pthread_create(&threads[started], NULL, cut_top_of_heap, &cut) == 0) started++;
    for (unsigned i = 0; i < started; i++) while (sem_wait(&cut.allocated) != 0) {}
    for (unsigned i = 0; i < started; i++) sem_post(&cut.mayFree);
    for (unsigned i = 0; i < started; i++) pthread_join(threads[i], NULL);
    sem_destroy(&cut.allocated);
    sem_destroy(&cut.mayFree);
    mallopt(M_TRIM_THRESHOLD, (int)kept);
}

int linux_memfd_create(const char *name) {
    return memfd_create(name, MFD_CLOEXEC);
}

int linux_ofd_getlk(int file, int64_t start, int64_t length) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
    return fcntl(file, F_OFD_GETLK, &lock) == 0 ? lock.l_type != F_UNLCK : -1;
}

int linux_ofd_setlk(int file, int isLocked, int64_t start, int64_t length) {
    struct flock lock = {
        .l_type = isLocked ? F_RDLCK : F_UNLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
    return fcntl(file, F_OFD_SETLK, &lock);
}

int linux_name_to_handle_at(int directory, const char *path, uint8_t *bytes, uint32_t *count, int *type, int flags) {
    struct {
        struct file_handle header;
        uint8_t bytes[MAX_HANDLE_SZ];
    } handle;
    int mount;
    handle.header.handle_bytes = *count < MAX_HANDLE_SZ ? *count : MAX_HANDLE_SZ;
    if (name_to_handle_at(directory, path, &handle.header, &mount, flags) != 0) {
        return -1;
    }
    memcpy(bytes, handle.bytes, handle.header.handle_bytes);
    *count = handle.header.handle_bytes;
    *type = handle.header.handle_type;
    return 0;
}

int linux_open_by_handle_at(int mount, const uint8_t *bytes, uint32_t count, int type, int flags) {
    struct {
        struct file_handle header;
        uint8_t bytes[MAX_HANDLE_SZ];
    } handle;
    if (count > MAX_HANDLE_SZ) {
        errno = EINVAL;
        return -1;
    }
    handle.header.handle_bytes = count;
    handle.header.handle_type = type;
    memcpy(handle.bytes, bytes, count);
    return open_by_handle_at(mount, &handle.header, flags);
}

int linux_openat2(int directory, const char *path, int flags, uint32_t mode, uint64_t resolve) {
    struct open_how how = {.flags = (uint32_t)flags, .mode = mode, .resolve = resolve};
    return (int)syscall(SYS_openat2, directory, path, &how, sizeof how);
}

ssize_t linux_preadv2(int descriptor, void *buffer, size_t count, off_t offset, int flags) {
    struct iovec vector = {.iov_base = buffer, .iov_len = count};
    return preadv2(descriptor, &vector, 1, offset, flags);
}

int linux_punch_hole(int descriptor, off_t offset, off_t length) {
    return fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
}

int linux_writeback_error(int descriptor) {
    return sync_file_range(descriptor, INT64_MAX - 8191, 4096, SYNC_FILE_RANGE_WAIT_BEFORE);
}

ssize_t linux_pwritev2(int descriptor, const void *buffer, size_t count, off_t offset, int flags) {
    struct iovec vector = {.iov_base = (void *)buffer, .iov_len = count};
    return pwritev2(descriptor, &vector, 1, offset, flags);
}

int linux_quota_format(int file, int type, uint32_t *format) {
    return (int)syscall(SYS_quotactl_fd, file, QCMD(Q_GETFMT, type), 0, format);
}

int linux_removexattr(const char *path, const char *name) {
    return removexattr(path, name);
}

int linux_reserve(int descriptor, off_t offset, off_t length) {
    return fallocate(descriptor, FALLOC_FL_KEEP_SIZE, offset, length);
}

int linux_set_thread_groups(size_t count, const uint32_t *groups) {
    return (int)syscall(SYS_setgroups, count, groups);
}

int linux_set_thread_name(const char *name) {
    return prctl(PR_SET_NAME, name, 0, 0, 0);
}

int linux_set_timer_slack(unsigned long nanoseconds) {
    return prctl(PR_SET_TIMERSLACK, nanoseconds, 0, 0, 0);
}

uint32_t linux_setfsgid(uint32_t gid) {
    return (uint32_t)syscall(SYS_setfsgid, gid);
}

uint32_t linux_setfsuid(uint32_t uid) {
    return (uint32_t)syscall(SYS_setfsuid, uid);
}

int linux_setxattr(const char *path, const char *name, const void *value, size_t size) {
    return setxattr(path, name, value, size, 0);
}

int linux_syncfs(int file) {
    return syncfs(file);
}

int linux_unshare_mounts(void) {
    if (unshare(CLONE_NEWNS) != 0) return -1;
    return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
}

static _Thread_local unsigned long thread_number;

unsigned long linux_thread_number(void) { return thread_number; }

void linux_set_thread_number(unsigned long number) { thread_number = number; }
