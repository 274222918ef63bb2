import RPCGenClient

extension NFSClient {
    func getattr(_ object: Handle) throws(CallFailure) -> Reply {
        let arena = Arena()
        defer { withExtendedLifetime(arena) {} }
        return try call(nfs3_getattr, nfs3_getattr_free, GETATTR3args(object: arena.handle(object))) { result in
            guard result.status == NFS3_OK else { return Reply(status: result.status) }
            return Reply(status: NFS3_OK, attributes: result.GETATTR3res_u.resok.obj_attributes)
        }
    }

    func setattr(_ object: Handle, _ attributes: sattr3, guardTime: nfstime3? = nil) throws(CallFailure) -> Reply {
        let arena = Arena()
        defer { withExtendedLifetime(arena) {} }
        var check = sattrguard3()
        if let guardTime {
            check.check = 1
            check.sattrguard3_u.obj_ctime = guardTime
        }
        let arguments = SETATTR3args(object: arena.handle(object), new_attributes: attributes, guard: check)
        return try call(nfs3_setattr, nfs3_setattr_free, arguments) { result in
            Reply(status: result.status, wcc: result.SETATTR3res_u.resok.obj_wcc)
        }
    }

    func lookup(_ directory: Handle, _ name: String) throws(CallFailure) -> Reply {
        let arena = Arena()
        defer { withExtendedLifetime(arena) {} }
        let arguments = LOOKUP3args(what: arena.operand(directory, name))
        return try call(nfs3_lookup, nfs3_lookup_free, arguments) { result in
            guard result.status == NFS3_OK else {
                return Reply(
                    status: result.status, directoryAttributes: result.LOOKUP3res_u.resfail.dir_attributes.value)
            }
            let ok = result.LOOKUP3res_u.resok
            return Reply(
                status: NFS3_OK, handle: Handle(ok.object), attributes: ok.obj_attributes.value,
                directoryAttributes: ok.dir_attributes.value)
        }
    }

    /// The rights granted among those asked for, with the attributes in the reply.
    func access(_ object: Handle, _ rights: Int32) throws(CallFailure) -> (reply: Reply, granted: UInt32) {
        let arena = Arena()
        defer { withExtendedLifetime(arena) {} }
        let arguments = ACCESS3args(object: arena.handle(object), access: UInt32(rights))
        return try call(nfs3_access, nfs3_access_free, arguments) { result in
            let attributes = result.ACCESS3res_u.resok.obj_attributes.value
            let granted = result.status == NFS3_OK ? result.ACCESS3res_u.resok.access : 0
            return (Reply(status: result.status, attributes: attributes), granted)
        }
    }

    func readlink(_ link: Handle) throws(CallFailure) -> (reply: Reply, target: String) {
        let arena = Arena()
        defer { withExtendedLifetime(arena) {} }
        let arguments = READLINK3args(symlink: arena.handle(link))
        return try call(nfs3_readlink, nfs3_readlink_free, arguments) { result in
            let reply = Reply(
                status: result.status, attributes: result.READLINK3res_u.resok.symlink_attributes.value)
            guard result.status == NFS3_OK else { return (reply, "") }
            return (reply, String(cString: result.READLINK3res_u.resok.data))
        }
    }

    func fsstat(_ object: Handle) throws(CallFailure) -> (status: nfsstat3, result: FSSTAT3resok) {
        let arena = Arena()
        defer { withExtendedLifetime(arena) {} }
        return try call(nfs3_fsstat, nfs3_fsstat_free, FSSTAT3args(fsroot: arena.handle(object))) { result in
            (result.status, result.FSSTAT3res_u.resok)
        }
    }

    func fsinfo(_ object: Handle) throws(CallFailure) -> (status: nfsstat3, result: FSINFO3resok) {
        let arena = Arena()
        defer { withExtendedLifetime(arena) {} }
        return try call(nfs3_fsinfo, nfs3_fsinfo_free, FSINFO3args(fsroot: arena.handle(object))) { result in
            (result.status, result.FSINFO3res_u.resok)
        }
    }

    func pathconf(_ object: Handle) throws(CallFailure) -> (status: nfsstat3, result: PATHCONF3resok) {
        let arena = Arena()
        defer { withExtendedLifetime(arena) {} }
        return try call(nfs3_pathconf, nfs3_pathconf_free, PATHCONF3args(object: arena.handle(object))) { result in
            (result.status, result.PATHCONF3res_u.resok)
        }
    }
}
