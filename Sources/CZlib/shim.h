#ifndef INTROSPECT_CZLIB_H
#define INTROSPECT_CZLIB_H
#include <zlib.h>
#endif
