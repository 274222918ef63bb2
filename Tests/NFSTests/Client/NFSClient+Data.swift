import RPCGenClient

extension NFSClient {
    func read(_ file: Handle, offset: UInt, count: UInt32) throws(CallFailure) -> ReadReply {
        let arena = Arena()
        defer { withExtendedLifetime(arena) {} }
        let arguments = READ3args(file: arena.handle(file), offset: offset, count: count)
        return try call(nfs3_read, nfs3_read_free, arguments) { result in
            let attributes = result.READ3res_u.resok.file_attributes.value
            guard result.status == NFS3_OK else { return ReadReply(status: result.status, attributes: attributes) }
            let ok = result.READ3res_u.resok
            return ReadReply(
                status: NFS3_OK, attributes: attributes, count: ok.count, isEndOfFile: ok.eof != 0,
                bytes: copyBytes(ok.data.data_val, ok.data.data_len))
        }
    }

    /// `count` differs from the number of bytes only in tests of what must not be accepted.
    func write(
        _ file: Handle, offset: UInt, _ bytes: [UInt8], _ stable: stable_how = FILE_SYNC, count: UInt32? = nil
    ) throws(CallFailure) -> WriteReply {
        let arena = Arena()
        defer { withExtendedLifetime(arena) {} }
        let arguments = WRITE3args(
            file: arena.handle(file), offset: offset, count: count ?? UInt32(bytes.count), stable: stable,
            data: .init(data_len: UInt32(bytes.count), data_val: arena.copy(bytes)))
        return try call(nfs3_write, nfs3_write_free, arguments) { result in
            let ok = result.WRITE3res_u.resok
            guard result.status == NFS3_OK else { return WriteReply(status: result.status, wcc: ok.file_wcc) }
            return WriteReply(
                status: NFS3_OK, wcc: ok.file_wcc, count: ok.count, committed: ok.committed,
                verifier: withUnsafeBytes(of: ok.verf) { Array($0) })
        }
    }

    func commit(_ file: Handle, offset: UInt = 0, count: UInt32 = 0) throws(CallFailure) -> WriteReply {
        let arena = Arena()
        defer { withExtendedLifetime(arena) {} }
        let arguments = COMMIT3args(file: arena.handle(file), offset: offset, count: count)
        return try call(nfs3_commit, nfs3_commit_free, arguments) { result in
            let ok = result.COMMIT3res_u.resok
            guard result.status == NFS3_OK else { return WriteReply(status: result.status, wcc: ok.file_wcc) }
            return WriteReply(
                status: NFS3_OK, wcc: ok.file_wcc, verifier: withUnsafeBytes(of: ok.verf) { Array($0) })
        }
    }
}
