import Datastore
import SunRPC

/// `diropargs3`: a name in a directory (RFC 1813 section 2.6).
struct DirectoryOperand: Sendable {
    let directory: FileHandle
    let name: FileName
}

extension XDRReader {
    /// `diropargs3` (RFC 1813 section 2.6).
    mutating func directoryOperand() throws(XDRError) -> DirectoryOperand {
        let directory = try handle()
        let name = try opaque(max: remaining).withUnsafeBytes { FileName(bytes: $0) }
        return DirectoryOperand(directory: directory, name: name)
    }
}
