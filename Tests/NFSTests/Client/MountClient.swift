import RPCGenClient

/// The five procedures of MOUNT v3 that do something.
final class MountClient {
    let connection: RPCConnection

    init?(port: Int, version: UInt32 = UInt32(MOUNT_V3)) {
        guard let connection = RPCConnection(port: port, program: UInt32(MOUNT_PROGRAM), version: version) else {
            return nil
        }
        self.connection = connection
    }

    func mount(_ path: String) throws(CallFailure) -> (status: mountstat3, handle: Handle, flavors: [Int32]) {
        try mount(Array(path.utf8))
    }

    func mount(_ path: [UInt8]) throws(CallFailure) -> (status: mountstat3, handle: Handle, flavors: [Int32]) {
        let path = path.map { CChar(bitPattern: $0) } + [0]
        var result = mountres3()
        let outcome = mount3_mnt(connection.raw, path, &result)
        defer { mount3_mnt_free(&result) }
        try connection.check(outcome)
        guard result.fhs_status == MNT3_OK else { return (result.fhs_status, Handle([]), []) }
        let info = result.mountres3_u.mountinfo
        let flavors = UnsafeBufferPointer(
            start: info.auth_flavors.auth_flavors_val, count: Int(info.auth_flavors.auth_flavors_len))
        return (
            MNT3_OK, Handle(copyBytes(info.fhandle.fhandle3_val, info.fhandle.fhandle3_len)), Array(flavors)
        )
    }

    /// Host and directory of every mount that the server remembers.
    func dump() throws(CallFailure) -> [(host: String, directory: String)] {
        var list: mountlist?
        let outcome = mount3_dump(connection.raw, &list)
        defer { mount3_dump_free(&list) }
        try connection.check(outcome)
        var entries: [(String, String)] = []
        var next = list
        while let entry = next?.pointee {
            entries.append((String(cString: entry.ml_hostname), String(cString: entry.ml_directory)))
            next = entry.ml_next
        }
        return entries
    }

    func unmount(_ path: String) throws(CallFailure) {
        try connection.check(mount3_umnt(connection.raw, path))
    }

    func unmountAll() throws(CallFailure) {
        try connection.check(mount3_umntall(connection.raw))
    }

    /// Directory and client groups of every export.
    func exports() throws(CallFailure) -> [(directory: String, groups: [String])] {
        var list: RPCGenClient.exports?
        let outcome = mount3_export(connection.raw, &list)
        defer { mount3_export_free(&list) }
        try connection.check(outcome)
        var entries: [(String, [String])] = []
        var next = list
        while let entry = next?.pointee {
            var names: [String] = []
            var group = entry.ex_groups
            while let name = group?.pointee {
                names.append(String(cString: name.gr_name))
                group = name.gr_next
            }
            entries.append((String(cString: entry.ex_dir), names))
            next = entry.ex_next
        }
        return entries
    }
}
