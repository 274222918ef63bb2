import RPCGenClient

/// How CREATE treats a file that exists.
enum CreateHow {
    case unchecked(sattr3)
    case guarded(sattr3)
    case exclusive(UInt)

    var c: createhow3 {
        var how = createhow3()
        switch self {
        case .unchecked(let attributes):
            how.mode = UNCHECKED
            how.createhow3_u.obj_attributes = attributes
        case .guarded(let attributes):
            how.mode = GUARDED
            how.createhow3_u.obj_attributes = attributes
        case .exclusive(let verifier):
            how.mode = EXCLUSIVE
            withUnsafeMutableBytes(of: &how.createhow3_u.verf) { $0.storeBytes(of: verifier, as: UInt.self) }
        }
        return how
    }
}

extension NFSClient {
    func create(_ directory: Handle, _ name: String, _ how: CreateHow) throws(CallFailure) -> Reply {
        let arena = Arena()
        defer { withExtendedLifetime(arena) {} }
        let arguments = CREATE3args(where: arena.operand(directory, name), how: how.c)
        return try call(nfs3_create, nfs3_create_free, arguments) { result in
            guard result.status == NFS3_OK else {
                return Reply(status: result.status, wcc: result.CREATE3res_u.resfail.dir_wcc)
            }
            let ok = result.CREATE3res_u.resok
            return Reply(
                status: NFS3_OK, handle: Handle(ok.obj), attributes: ok.obj_attributes.value, wcc: ok.dir_wcc)
        }
    }

    func mkdir(_ directory: Handle, _ name: String, _ attributes: sattr3 = .mode(0o755)) throws(CallFailure) -> Reply {
        let arena = Arena()
        defer { withExtendedLifetime(arena) {} }
        let arguments = MKDIR3args(where: arena.operand(directory, name), attributes: attributes)
        return try call(nfs3_mkdir, nfs3_mkdir_free, arguments) { result in
            guard result.status == NFS3_OK else {
                return Reply(status: result.status, wcc: result.MKDIR3res_u.resfail.dir_wcc)
            }
            let ok = result.MKDIR3res_u.resok
            return Reply(
                status: NFS3_OK, handle: Handle(ok.obj), attributes: ok.obj_attributes.value, wcc: ok.dir_wcc)
        }
    }

    func symlink(_ directory: Handle, _ name: String, target: String) throws(CallFailure) -> Reply {
        let arena = Arena()
        defer { withExtendedLifetime(arena) {} }
        let data = symlinkdata3(symlink_attributes: .unchanged, symlink_data: arena.string(target))
        let arguments = SYMLINK3args(where: arena.operand(directory, name), symlink: data)
        return try call(nfs3_symlink, nfs3_symlink_free, arguments) { result in
            guard result.status == NFS3_OK else {
                return Reply(status: result.status, wcc: result.SYMLINK3res_u.resfail.dir_wcc)
            }
            let ok = result.SYMLINK3res_u.resok
            return Reply(
                status: NFS3_OK, handle: Handle(ok.obj), attributes: ok.obj_attributes.value, wcc: ok.dir_wcc)
        }
    }

    func mknod(
        _ directory: Handle, _ name: String, _ type: ftype3, _ attributes: sattr3 = .mode(0o600),
        major: UInt32 = 0, minor: UInt32 = 0
    ) throws(CallFailure) -> Reply {
        let arena = Arena()
        defer { withExtendedLifetime(arena) {} }
        var what = mknoddata3()
        what.type = type
        if type == NF3CHR || type == NF3BLK {
            what.mknoddata3_u.device = devicedata3(
                dev_attributes: attributes, spec: specdata3(specdata1: major, specdata2: minor))
        } else if type == NF3SOCK || type == NF3FIFO {
            what.mknoddata3_u.pipe_attributes = attributes
        }
        let arguments = MKNOD3args(where: arena.operand(directory, name), what: what)
        return try call(nfs3_mknod, nfs3_mknod_free, arguments) { result in
            guard result.status == NFS3_OK else {
                return Reply(status: result.status, wcc: result.MKNOD3res_u.resfail.dir_wcc)
            }
            let ok = result.MKNOD3res_u.resok
            return Reply(
                status: NFS3_OK, handle: Handle(ok.obj), attributes: ok.obj_attributes.value, wcc: ok.dir_wcc)
        }
    }

    func remove(_ directory: Handle, _ name: String) throws(CallFailure) -> Reply {
        let arena = Arena()
        defer { withExtendedLifetime(arena) {} }
        let arguments = REMOVE3args(object: arena.operand(directory, name))
        return try call(nfs3_remove, nfs3_remove_free, arguments) { result in
            Reply(status: result.status, wcc: result.REMOVE3res_u.resok.dir_wcc)
        }
    }

    func rmdir(_ directory: Handle, _ name: String) throws(CallFailure) -> Reply {
        let arena = Arena()
        defer { withExtendedLifetime(arena) {} }
        let arguments = RMDIR3args(object: arena.operand(directory, name))
        return try call(nfs3_rmdir, nfs3_rmdir_free, arguments) { result in
            Reply(status: result.status, wcc: result.RMDIR3res_u.resok.dir_wcc)
        }
    }

    func rename(
        _ from: Handle, _ name: String, to: Handle, _ newName: String
    ) throws(CallFailure) -> Reply {
        let arena = Arena()
        defer { withExtendedLifetime(arena) {} }
        let arguments = RENAME3args(from: arena.operand(from, name), to: arena.operand(to, newName))
        return try call(nfs3_rename, nfs3_rename_free, arguments) { result in
            let ok = result.RENAME3res_u.resok
            return Reply(status: result.status, wcc: ok.fromdir_wcc, otherWCC: ok.todir_wcc)
        }
    }

    func link(_ file: Handle, _ directory: Handle, _ name: String) throws(CallFailure) -> Reply {
        let arena = Arena()
        defer { withExtendedLifetime(arena) {} }
        let arguments = LINK3args(file: arena.handle(file), link: arena.operand(directory, name))
        return try call(nfs3_link, nfs3_link_free, arguments) { result in
            let ok = result.LINK3res_u.resok
            return Reply(status: result.status, attributes: ok.file_attributes.value, wcc: ok.linkdir_wcc)
        }
    }
}
