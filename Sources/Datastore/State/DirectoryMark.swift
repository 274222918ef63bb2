import CLinux
import Glibc

/// What servers tell each other about a directory by marking it: a lock for reading on the byte of this number
/// (fcntl(2), `F_OFD_SETLK`).
///
/// No process can keep another from that: a lock for writing, which alone would, needs the file open for writing, and no
/// directory can be. So whoever may read a directory can at most look like a server: see ``MarkHolders``. The kernel
/// keeps marks by inode, whichever way and from whichever namespace the directory was opened, and ends them with the
/// process.
enum DirectoryMark: Int64 {
    /// Lies above an export.
    case above
    /// Is an export that clients may change.
    case writable
    /// Is an export that clients may only read.
    case readOnly

    /// The marks of other servers that must not stand beside this one.
    var excluded: ClosedRange<Int64> {
        switch self {
        case .above, .readOnly: Self.writable.rawValue...Self.writable.rawValue
        case .writable: Self.above.rawValue...Self.readOnly.rawValue
        }
    }

    /// Sets the mark on an open directory; false with `errno` set when its file system keeps none.
    func set(on directory: Int32) -> Bool {
        linux_ofd_setlk(directory, 1, rawValue, 1) == 0
    }

    /// Takes this descriptor's marks away, from its copies in other processes, too.
    static func clear(on directory: Int32) {
        _ = linux_ofd_setlk(directory, 0, 0, 0)
    }

    /// Whether a directory has a mark of another that this one must not stand beside.
    func isExcluded(on directory: Int32) -> Bool {
        linux_ofd_getlk(directory, excluded.lowerBound, Int64(excluded.count)) == 1
    }
}
