#ifndef C_ALLOCATIONS_H
#define C_ALLOCATIONS_H

#include <stdbool.h>
#include <stdint.h>

/// How often this process has asked for memory so far: malloc() and its like, by all threads. A program that is linked
/// with this has them counted.
uint64_t allocation_count(void);

/// Whether they are counted: not under a sanitizer, which has a malloc() of its own.
bool allocations_are_counted(void);

#endif
