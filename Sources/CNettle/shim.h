#ifndef INTROSPECT_CNETTLE_H
#define INTROSPECT_CNETTLE_H
#include <nettle/hmac.h>
#include <nettle/sha2.h>
#endif
