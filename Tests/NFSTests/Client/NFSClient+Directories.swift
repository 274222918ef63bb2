import RPCGenClient

extension NFSClient {
    static let noVerifier = [UInt8](repeating: 0, count: 8)

    func readdir(
        _ directory: Handle, cookie: UInt = 0, verifier: [UInt8] = noVerifier, count: UInt32
    ) throws(CallFailure) -> DirectoryReply {
        let arena = Arena()
        defer { withExtendedLifetime(arena) {} }
        var arguments = READDIR3args()
        arguments.dir = arena.handle(directory)
        arguments.cookie = cookie
        withUnsafeMutableBytes(of: &arguments.cookieverf) { $0.copyBytes(from: verifier) }
        arguments.count = count
        return try call(nfs3_readdir, nfs3_readdir_free, arguments) { result in
            let ok = result.READDIR3res_u.resok
            var reply = DirectoryReply(status: result.status, attributes: ok.dir_attributes.value)
            guard result.status == NFS3_OK else { return reply }
            reply.verifier = withUnsafeBytes(of: ok.cookieverf) { Array($0) }
            reply.isEndOfDirectory = ok.reply.eof != 0
            var next = ok.reply.entries
            while let entry = next?.pointee {
                reply.items.append(
                    DirectoryItem(fileid: entry.fileid, name: String(cString: entry.name), cookie: entry.cookie))
                next = entry.nextentry
            }
            return reply
        }
    }

    func readdirplus(
        _ directory: Handle, cookie: UInt = 0, verifier: [UInt8] = noVerifier, dircount: UInt32, maxcount: UInt32
    ) throws(CallFailure) -> DirectoryReply {
        let arena = Arena()
        defer { withExtendedLifetime(arena) {} }
        var arguments = READDIRPLUS3args()
        arguments.dir = arena.handle(directory)
        arguments.cookie = cookie
        withUnsafeMutableBytes(of: &arguments.cookieverf) { $0.copyBytes(from: verifier) }
        arguments.dircount = dircount
        arguments.maxcount = maxcount
        return try call(nfs3_readdirplus, nfs3_readdirplus_free, arguments) { result in
            let ok = result.READDIRPLUS3res_u.resok
            var reply = DirectoryReply(status: result.status, attributes: ok.dir_attributes.value)
            guard result.status == NFS3_OK else { return reply }
            reply.verifier = withUnsafeBytes(of: ok.cookieverf) { Array($0) }
            reply.isEndOfDirectory = ok.reply.eof != 0
            var next = ok.reply.entries
            while let entry = next?.pointee {
                reply.items.append(
                    DirectoryItem(
                        fileid: entry.fileid, name: String(cString: entry.name), cookie: entry.cookie,
                        handle: Handle(entry.name_handle), attributes: entry.name_attributes.value))
                next = entry.nextentry
            }
            return reply
        }
    }
}
