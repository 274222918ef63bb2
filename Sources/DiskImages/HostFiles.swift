import Glibc

/// How the files of an image are reached by their paths: a server lets no path lead out of what it serves.
public struct HostFiles: Sendable {
    let open: @Sendable (_ path: String, _ flags: Int32) -> Int32
    let name: @Sendable (_ name: String) -> String
    /// Whether a disk may be a block device.
    let haveDevices: Bool

    /// Files that `open` opens, as open(2) does: a descriptor, or -1 with `errno` set. `name` is how a file's name
    /// stands in their paths.
    public init(
        open: @escaping @Sendable (_ path: String, _ flags: Int32) -> Int32,
        name: @escaping @Sendable (_ name: String) -> String
    ) {
        self.init(haveDevices: false, open: open, name: name)
    }

    private init(
        haveDevices: Bool, open: @escaping @Sendable (_ path: String, _ flags: Int32) -> Int32,
        name: @escaping @Sendable (_ name: String) -> String
    ) {
        self.haveDevices = haveDevices
        self.open = open
        self.name = name
    }

    /// Whatever this program may open, by the system's own paths; a disk may be a block device.
    public static let system = HostFiles(haveDevices: true, open: { Glibc.open($0, $1) }, name: { $0 })
}
