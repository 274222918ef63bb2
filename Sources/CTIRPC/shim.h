#ifndef INTROSPECT_CTIRPC_H
#define INTROSPECT_CTIRPC_H
#include <rpc/rpc.h>
#include <netconfig.h>
#include <rpc/rpcb_clnt.h>

/* rpcb_set takes the address as a netbuf, which points to a sockaddr without saying so. */
static inline bool_t introspect_rpcb_set(
    rpcprog_t program, rpcvers_t version, const struct netconfig *transport, void *address, unsigned int length)
{
    struct netbuf buffer = {.maxlen = length, .len = length, .buf = address};
    return rpcb_set(program, version, transport, &buffer);
}

/* Frees what rpcb_getmaps returned. */
static inline void introspect_free_maps(rpcblist *maps)
{
    xdr_free((xdrproc_t)xdr_rpcblist_ptr, &maps);
}
#endif
