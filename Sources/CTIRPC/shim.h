#ifndef INTROSPECT_CTIRPC_H
#define INTROSPECT_CTIRPC_H
#include <rpc/rpc.h>
#include <netconfig.h>
#include <rpc/rpcb_clnt.h>
#endif
