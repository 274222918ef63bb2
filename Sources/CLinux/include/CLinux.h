/// System calls that Glibc's Swift overlay does not carry. Each function is the call of the same name and nothing
/// more; the header stays free of _GNU_SOURCE, which would contradict the Glibc module.
#ifndef INTROSPECT_CLINUX_H
#define INTROSPECT_CLINUX_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/// AT_EMPTY_PATH.
extern const int linux_at_empty_path;

/// O_DIRECT, whose value differs between architectures.
extern const int linux_o_direct;
/// SEEK_DATA and SEEK_HOLE.
extern const int linux_seek_data;
extern const int linux_seek_hole;

/// O_PATH.
extern const int linux_o_path;

/// O_TMPFILE.
extern const int linux_o_tmpfile;

/// RESOLVE_BENEATH of openat2.
extern const uint64_t linux_resolve_beneath;

/// RESOLVE_NO_SYMLINKS of openat2.
extern const uint64_t linux_resolve_no_symlinks;

/// RESOLVE_NO_XDEV of openat2.
extern const uint64_t linux_resolve_no_xdev;

/// RWF_DSYNC, RWF_NOWAIT and RWF_SYNC of preadv2 and pwritev2.
extern const int linux_rwf_dsync;
extern const int linux_rwf_nowait;
extern const int linux_rwf_sync;

/// UTIME_NOW.
extern const long linux_utime_now;

/// UTIME_OMIT.
extern const long linux_utime_omit;

/// CAP_CHOWN, CAP_FOWNER and CAP_SYS_RESOURCE: numbers of bits in sets of capabilities.
extern const int linux_cap_chown;
extern const int linux_cap_fowner;
extern const int linux_cap_sys_resource;
extern const int linux_cap_sys_ptrace;
extern const int linux_cap_dac_override;
extern const int linux_cap_setuid;

/// statx(STATX_BTIME) of an open file; EOPNOTSUPP when the file system does not keep birth times.
int linux_birth_time(int file, int64_t *seconds, uint32_t *nanoseconds);

/// capget() of the calling thread: its effective, permitted and inheritable sets.
int linux_capget(uint64_t sets[3]);

/// capset() of the calling thread.
int linux_capset(const uint64_t sets[3]);

/// major().
uint32_t linux_device_major(uint64_t device);

/// minor().
uint32_t linux_device_minor(uint64_t device);

/// makedev().
uint64_t linux_device_number(uint32_t major, uint32_t minor);

/// faccessat2(), by the system call: older C libraries emulate it wrongly.
int linux_faccessat2(int directory, const char *path, int mode, int flags);

/// fgetxattr().
ssize_t linux_fgetxattr(int file, const char *name, void *value, size_t size);

/// The f_type of fstatfs(), or -1.
int64_t linux_file_system_type(int file);

/// getdents64().
ssize_t linux_getdents64(int directory, void *buffer, size_t count);

/// getxattr().
ssize_t linux_getxattr(const char *path, const char *name, void *value, size_t size);

/// Has malloc() keep freed memory for large buffers to come instead of giving it back to the kernel, up to `kept` bytes
/// a heap: pages of a new one would be zeroed and mapped again for every buffer. There are four heaps at most.
void linux_keep_freed_memory(size_t kept);

/// Gives what is free back to the kernel, wherever in the heaps it is. `kept` as for linux_keep_freed_memory().
void linux_give_back_memory(size_t kept);

/// memfd_create with MFD_CLOEXEC: a file that lives in memory.
int linux_memfd_create(const char *name);

/// name_to_handle_at(); `count` is the room at `bytes` and becomes the number of bytes.
int linux_name_to_handle_at(int directory, const char *path, uint8_t *bytes, uint32_t *count, int *type, int flags);

/// open_by_handle_at().
int linux_open_by_handle_at(int mount, const uint8_t *bytes, uint32_t count, int type, int flags);

/// fcntl(F_OFD_GETLK): whether another open file has locked any byte of the range, 1 or 0; -1 and errno.
int linux_ofd_getlk(int file, int64_t start, int64_t length);

/// fcntl(F_OFD_SETLK): locks the range for reading, or unlocks it; 0, or -1 and errno.
int linux_ofd_setlk(int file, int isLocked, int64_t start, int64_t length);

/// openat2().
int linux_openat2(int directory, const char *path, int flags, uint32_t mode, uint64_t resolve);

/// preadv2 into one buffer.
ssize_t linux_preadv2(int descriptor, void *buffer, size_t count, off_t offset, int flags);

/// fallocate with FALLOC_FL_PUNCH_HOLE and FALLOC_FL_KEEP_SIZE: the range reads as zeros and takes no room.
int linux_punch_hole(int descriptor, off_t offset, off_t length);

/// Whether writing the file back has failed since this was last asked of the same open file, which must not be one that
/// is flushed: 0, or -1 and the error. sync_file_range(SYNC_FILE_RANGE_WAIT_BEFORE) where no page can be, so that it waits
/// for nothing.
int linux_writeback_error(int descriptor);

/// pwritev2 from one buffer.
ssize_t linux_pwritev2(int descriptor, const void *buffer, size_t count, off_t offset, int flags);

/// quotactl_fd(Q_GETFMT): the format of the quotas of `type` (0 users', 1 groups', 2 projects') in a file's file system.
int linux_quota_format(int file, int type, uint32_t *format);

/// removexattr().
int linux_removexattr(const char *path, const char *name);

/// fallocate with FALLOC_FL_KEEP_SIZE: room for the range, which may lie past the end of the file.
int linux_reserve(int descriptor, off_t offset, off_t length);

/// setgroups() of the calling thread alone: the C library's sets those of all threads.
int linux_set_thread_groups(size_t count, const uint32_t *groups);

/// prctl(PR_SET_NAME): names the calling thread; at most 15 bytes count.
int linux_set_thread_name(const char *name);

/// prctl(PR_SET_TIMERSLACK): how late, in nanoseconds, the calling thread's sleeps may end.
int linux_set_timer_slack(unsigned long nanoseconds);

/// setfsgid(): sets the calling thread's group for access to files; returns the one before.
uint32_t linux_setfsgid(uint32_t gid);

/// setfsuid(): sets the calling thread's user for access to files; returns the one before.
uint32_t linux_setfsuid(uint32_t uid);

/// setxattr().
int linux_setxattr(const char *path, const char *name, const void *value, size_t size);

/// syncfs().
int linux_syncfs(int file);

/// unshare(CLONE_NEWNS), and what is mounted from now on stays in the new namespace; 0, or -1 and errno.
int linux_unshare_mounts(void);

/// A number of the calling thread's own, 0 at first, and what sets it.
unsigned long linux_thread_number(void);
void linux_set_thread_number(unsigned long number);

#endif
