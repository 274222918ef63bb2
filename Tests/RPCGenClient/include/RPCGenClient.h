/// An NFSv3 and MOUNT v3 client that owes nothing to the server's own code: rpcgen made the XDR routines from `nfs3.x`
/// and `mount3.x` (`regenerate.sh` makes them anew), and libtirpc carries the calls.
///
/// Every call blocks until the reply is there. Results are zeroed before the call; the `*_free` function of the same
/// name frees what the reply brought, whatever the call's outcome.
#ifndef INTROSPECT_RPCGENCLIENT_H
#define INTROSPECT_RPCGENCLIENT_H

#include "mount3.h"
#include "nfs3.h"
#include <rpc/rpc.h>

/// A connection to one version of one program on a port of the loopback interface.
typedef struct rpcgen_client rpcgen_client;

/// How a call ended, below the level of its results.
typedef struct {
    /// `enum clnt_stat`; RPC_SUCCESS is 0.
    unsigned int status;
    /// The versions that the server knows; set with RPC_PROGVERSMISMATCH.
    unsigned int low, high;
    /// Why the credential was refused (`enum auth_stat`); set with RPC_AUTHERROR.
    unsigned int why;
} rpcgen_outcome;

/// Connects over TCP, with an AUTH_NONE credential; null when nobody listens.
rpcgen_client *rpcgen_connect(unsigned short port, unsigned int program, unsigned int version);
void rpcgen_disconnect(rpcgen_client *client);

/// Calls from now on carry AUTH_SYS with these numbers; false when libtirpc refuses them.
bool_t rpcgen_set_auth_sys(rpcgen_client *client, unsigned int uid, unsigned int gid, unsigned int group_count,
                           const unsigned int *groups);
/// Calls from now on carry AUTH_NONE.
void rpcgen_set_auth_none(rpcgen_client *client);

/// Calls a procedure with `length` bytes (a multiple of 4) for arguments, and ignores its results.
rpcgen_outcome rpcgen_call_raw(rpcgen_client *client, unsigned int procedure, const void *arguments,
                               unsigned int length);

/// The NULL procedure of either program.
rpcgen_outcome rpcgen_null(rpcgen_client *client);

#define RPCGEN_EACH_NFS_PROCEDURE(DO)                                                                                  \
    DO(getattr, GETATTR)                                                                                               \
    DO(setattr, SETATTR)                                                                                               \
    DO(lookup, LOOKUP)                                                                                                 \
    DO(access, ACCESS)                                                                                                 \
    DO(readlink, READLINK)                                                                                             \
    DO(read, READ)                                                                                                     \
    DO(write, WRITE)                                                                                                   \
    DO(create, CREATE)                                                                                                 \
    DO(mkdir, MKDIR)                                                                                                   \
    DO(symlink, SYMLINK)                                                                                               \
    DO(mknod, MKNOD)                                                                                                   \
    DO(remove, REMOVE)                                                                                                 \
    DO(rmdir, RMDIR)                                                                                                   \
    DO(rename, RENAME)                                                                                                 \
    DO(link, LINK)                                                                                                     \
    DO(readdir, READDIR)                                                                                               \
    DO(readdirplus, READDIRPLUS)                                                                                       \
    DO(fsstat, FSSTAT)                                                                                                 \
    DO(fsinfo, FSINFO)                                                                                                 \
    DO(pathconf, PATHCONF)                                                                                             \
    DO(commit, COMMIT)

#define RPCGEN_DECLARE(name, NAME)                                                                                     \
    rpcgen_outcome nfs3_##name(rpcgen_client *client, NAME##3args *arguments, NAME##3res *result);                     \
    void nfs3_##name##_free(NAME##3res *result);

RPCGEN_EACH_NFS_PROCEDURE(RPCGEN_DECLARE)

rpcgen_outcome mount3_mnt(rpcgen_client *client, const char *path, mountres3 *result);
void mount3_mnt_free(mountres3 *result);
rpcgen_outcome mount3_dump(rpcgen_client *client, mountlist *result);
void mount3_dump_free(mountlist *result);
rpcgen_outcome mount3_umnt(rpcgen_client *client, const char *path);
rpcgen_outcome mount3_umntall(rpcgen_client *client);
rpcgen_outcome mount3_export(rpcgen_client *client, exports *result);
void mount3_export_free(exports *result);

#endif
