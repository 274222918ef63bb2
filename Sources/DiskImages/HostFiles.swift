import Glibc

/// How the files of an image are reached by their paths: a server lets no path lead out of what it serves.
public struct HostFiles: Sendable {
    let open: @Sendable (_ path: String, _ flags: Int32) -> Int32
    let name: @Sendable (_ name: String) -> String

    /// Files that `open` opens, as open(2) does: a descriptor, or -1 with `errno` set. `name` is how a file's name
    /// stands in their paths.
    public init(
        open: @escaping @Sendable (_ path: String, _ flags: Int32) -> Int32,
        name: @escaping @Sendable (_ name: String) -> String
    ) {
        self.open = open
        self.name = name
    }

    /// Whatever this program may open, by the system's own paths.
    public static let system = HostFiles(open: { Glibc.open($0, $1) }, name: { $0 })
}
