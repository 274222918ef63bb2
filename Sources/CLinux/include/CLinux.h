/// System calls that Glibc's Swift overlay does not carry. Each function is the call of the same name and nothing
/// more; the header stays free of _GNU_SOURCE, which would contradict the Glibc module.
#ifndef INTROSPECT_CLINUX_H
#define INTROSPECT_CLINUX_H

/// O_DIRECT, whose value differs between architectures.
extern const int linux_o_direct;

/// prctl(PR_SET_NAME): names the calling thread; at most 15 bytes count.
int linux_set_thread_name(const char *name);

#endif
