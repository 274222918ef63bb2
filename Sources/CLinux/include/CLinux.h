/// System calls that Glibc's Swift overlay does not carry. Each function is the call of the same name and nothing
/// more; the header stays free of _GNU_SOURCE, which would contradict the Glibc module.
#ifndef INTROSPECT_CLINUX_H
#define INTROSPECT_CLINUX_H

/// memfd_create with MFD_CLOEXEC: a file that lives in memory.
int linux_memfd_create(const char *name);

/// O_DIRECT, whose value differs between architectures.
extern const int linux_o_direct;

/// prctl(PR_SET_NAME): names the calling thread; at most 15 bytes count.
int linux_set_thread_name(const char *name);

/// prctl(PR_SET_TIMERSLACK): how late, in nanoseconds, the calling thread's sleeps may end.
int linux_set_timer_slack(unsigned long nanoseconds);

#endif
