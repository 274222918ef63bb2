#ifndef INTROSPECT_CFUSE_H
#define INTROSPECT_CFUSE_H
#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

/// Sets fuse_file_info.direct_io, a bit field, which Swift cannot reach.
static inline void introspect_fuse_set_direct_io(struct fuse_file_info *info) {
    info->direct_io = 1;
}
#endif
