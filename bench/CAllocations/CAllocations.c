#include "CAllocations.h"

#include <errno.h>
#include <stddef.h>

#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)

uint64_t allocation_count(void) {
    return 0;
}

bool allocations_are_counted(void) {
    return false;
}

#else

// glibc's own functions under their other names: what these replace calls them.
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);

static uint64_t count;

static void note(void) {
    __atomic_fetch_add(&count, 1, __ATOMIC_RELAXED);
}

uint64_t allocation_count(void) {
    return __atomic_load_n(&count, __ATOMIC_RELAXED);
}

bool allocations_are_counted(void) {
    return true;
}

void *malloc(size_t size) {
    note();
    return __libc_malloc(size);
}

void *calloc(size_t number, size_t size) {
    note();
    return __libc_calloc(number, size);
}

void *realloc(void *memory, size_t size) {
    note();
    return __libc_realloc(memory, size);
}

void *memalign(size_t alignment, size_t size) {
    note();
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    note();
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
    note();
    void *result = __libc_memalign(alignment, size);
    if (!result) return ENOMEM;
    *memory = result;
    return 0;
}

#endif
