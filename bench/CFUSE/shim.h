#ifndef INTROSPECT_CFUSE_H
#define INTROSPECT_CFUSE_H
#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>
#endif
