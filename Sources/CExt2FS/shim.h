#ifndef INTROSPECT_CEXT2FS_H
#define INTROSPECT_CEXT2FS_H
#include <ext2fs/ext2fs.h>

/* unix_io_manager is a mutable global, which Swift 6 does not let through. */
static inline io_manager introspect_unix_io_manager(void) { return unix_io_manager; }
#endif
