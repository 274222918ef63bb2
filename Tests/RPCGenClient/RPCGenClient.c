#include "RPCGenClient.h"
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

struct rpcgen_client {
    CLIENT *connection;
};

static const struct timeval patience = {.tv_sec = 30};

rpcgen_client *rpcgen_connect(unsigned short port, unsigned int program, unsigned int version) {
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int descriptor = RPC_ANYSOCK;
    CLIENT *connection = clnttcp_create(&address, program, version, &descriptor, 0, 0);
    if (connection == NULL) {
        return NULL;
    }
    rpcgen_client *client = malloc(sizeof *client);
    if (client == NULL) {
        abort();
    }
    client->connection = connection;
    return client;
}

void rpcgen_disconnect(rpcgen_client *client) {
    auth_destroy(client->connection->cl_auth);
    clnt_destroy(client->connection);
    free(client);
}

bool_t rpcgen_set_auth_sys(rpcgen_client *client, unsigned int uid, unsigned int gid, unsigned int group_count,
                           const unsigned int *groups) {
    char machine[] = "rpcgen-client";
    AUTH *credential = authunix_create(machine, uid, gid, (int)group_count, (gid_t *)groups);
    if (credential == NULL) {
        return FALSE;
    }
    auth_destroy(client->connection->cl_auth);
    client->connection->cl_auth = credential;
    return TRUE;
}

void rpcgen_set_auth_none(rpcgen_client *client) {
    auth_destroy(client->connection->cl_auth);
    client->connection->cl_auth = authnone_create();
}

static rpcgen_outcome call(rpcgen_client *client, unsigned int procedure, xdrproc_t encode, void *arguments,
                           xdrproc_t decode, void *result) {
    rpcgen_outcome outcome = {0};
    outcome.status = clnt_call(client->connection, procedure, encode, arguments, decode, result, patience);
    struct rpc_err error;
    clnt_geterr(client->connection, &error);
    if (outcome.status == RPC_PROGVERSMISMATCH) {
        outcome.low = (unsigned int)error.re_vers.low;
        outcome.high = (unsigned int)error.re_vers.high;
    } else if (outcome.status == RPC_AUTHERROR) {
        outcome.why = error.re_why;
    }
    return outcome;
}

struct raw_bytes {
    const void *bytes;
    unsigned int length;
};

static bool_t encode_raw(XDR *xdrs, struct raw_bytes *raw) {
    return xdrs->x_op == XDR_FREE || xdr_opaque(xdrs, (char *)raw->bytes, raw->length);
}

rpcgen_outcome rpcgen_call_raw(rpcgen_client *client, unsigned int procedure, const void *arguments,
                               unsigned int length) {
    struct raw_bytes raw = {.bytes = arguments, .length = length};
    return call(client, procedure, (xdrproc_t)encode_raw, &raw, (xdrproc_t)xdr_void, NULL);
}

rpcgen_outcome rpcgen_null(rpcgen_client *client) {
    return call(client, NULLPROC, (xdrproc_t)xdr_void, NULL, (xdrproc_t)xdr_void, NULL);
}

#define RPCGEN_DEFINE(name, NAME)                                                                                      \
    rpcgen_outcome nfs3_##name(rpcgen_client *client, NAME##3args *arguments, NAME##3res *result) {                    \
        memset(result, 0, sizeof *result);                                                                             \
        return call(client, NFSPROC3_##NAME, (xdrproc_t)xdr_##NAME##3args, arguments, (xdrproc_t)xdr_##NAME##3res,     \
                    result);                                                                                           \
    }                                                                                                                  \
    void nfs3_##name##_free(NAME##3res *result) { xdr_free((xdrproc_t)xdr_##NAME##3res, result); }

RPCGEN_EACH_NFS_PROCEDURE(RPCGEN_DEFINE)

rpcgen_outcome mount3_mnt(rpcgen_client *client, const char *path, mountres3 *result) {
    dirpath argument = (dirpath)path;
    memset(result, 0, sizeof *result);
    return call(client, MOUNTPROC3_MNT, (xdrproc_t)xdr_dirpath, &argument, (xdrproc_t)xdr_mountres3, result);
}

void mount3_mnt_free(mountres3 *result) { xdr_free((xdrproc_t)xdr_mountres3, result); }

rpcgen_outcome mount3_dump(rpcgen_client *client, mountlist *result) {
    *result = NULL;
    return call(client, MOUNTPROC3_DUMP, (xdrproc_t)xdr_void, NULL, (xdrproc_t)xdr_mountlist, result);
}

void mount3_dump_free(mountlist *result) { xdr_free((xdrproc_t)xdr_mountlist, result); }

rpcgen_outcome mount3_umnt(rpcgen_client *client, const char *path) {
    dirpath argument = (dirpath)path;
    return call(client, MOUNTPROC3_UMNT, (xdrproc_t)xdr_dirpath, &argument, (xdrproc_t)xdr_void, NULL);
}

rpcgen_outcome mount3_umntall(rpcgen_client *client) {
    return call(client, MOUNTPROC3_UMNTALL, (xdrproc_t)xdr_void, NULL, (xdrproc_t)xdr_void, NULL);
}

rpcgen_outcome mount3_export(rpcgen_client *client, exports *result) {
    *result = NULL;
    return call(client, MOUNTPROC3_EXPORT, (xdrproc_t)xdr_void, NULL, (xdrproc_t)xdr_exports, result);
}

void mount3_export_free(exports *result) { xdr_free((xdrproc_t)xdr_exports, result); }
