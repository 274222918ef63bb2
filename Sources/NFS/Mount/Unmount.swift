import SunRPC

extension MountProgram {
    /// UMNT: forgets one mount (RFC 1813 section 5.2.3). Handles stay good, the protocol has no way to take them back.
    func unmount(_ path: [UInt8], _ call: RPCCall) {
        table.remove(MountTable.Entry(host: call.clientName, directory: path))
    }

    /// UMNTALL: forgets all mounts of the client (RFC 1813 section 5.2.4).
    func unmountAll(_ call: RPCCall) {
        table.removeAll(of: call.clientName)
    }
}
