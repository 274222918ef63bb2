#ifndef INTROSPECT_CEXT2FS_H
#define INTROSPECT_CEXT2FS_H
#include <ext2fs/ext2fs.h>

/* unix_io_manager is a mutable global, which Swift 6 does not let through. */
static inline io_manager introspect_unix_io_manager(void) { return unix_io_manager; }

/* The bit tests are inline functions of the header, which Swift does not find in the library. */
static inline int introspect_test_block_bitmap(ext2fs_block_bitmap bitmap, blk64_t block) {
    return ext2fs_test_block_bitmap2(bitmap, block);
}
#endif
