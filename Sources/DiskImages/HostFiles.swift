import BlockStorage
import Glibc

/// How the files of an image are reached by their paths: a server lets no path lead out of what it serves.
public struct HostFiles: Sendable {
    let open: @Sendable (_ path: ByteString, _ flags: Int32) -> Int32
    /// Whether paths are strings that `ByteString.description` gives, in which every name has its own; else they are text.
    private let areEscaped: Bool
    /// Whether a disk may be a block device.
    let haveDevices: Bool

    /// Files of escaped paths (`ByteString.description`), which `open` opens as open(2) does: a descriptor, or -1 with
    /// `errno` set.
    public init(open: @escaping @Sendable (_ path: ByteString, _ flags: Int32) -> Int32) {
        self.init(haveDevices: false, areEscaped: true, open: open)
    }

    private init(
        haveDevices: Bool, areEscaped: Bool, open: @escaping @Sendable (_ path: ByteString, _ flags: Int32) -> Int32
    ) {
        self.haveDevices = haveDevices
        self.areEscaped = areEscaped
        self.open = open
    }

    /// Whatever this program may open, by the system's own paths; a disk may be a block device.
    public static let system = HostFiles(haveDevices: true, areEscaped: false) { path, flags in
        path.withCString { Glibc.open($0, flags) }
    }

    /// The bytes of a path.
    func location(of path: String) -> ByteString { areEscaped ? ByteString(escaped: path) : ByteString(path) }

    /// The path of these bytes; one that is no text is escaped in any case.
    func path(of location: ByteString) -> String { (areEscaped ? nil : location.text) ?? location.description }
}
