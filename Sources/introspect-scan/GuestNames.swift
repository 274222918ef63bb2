import ArgumentParser
import BlockStorage
import Introspection

/// Which of a guest's files a command means.
struct FileChoice: ParsableArguments {
    @Argument(
        help: "A path in the guest's file system; \\xHH stands for a byte, as ls shows names that are not UTF-8.")
    var path: String?

    @Option(name: .long, help: "The number of an inode, in place of a path: whatever its name is, or if it has none.")
    var inode: UInt32?

    func validate() throws {
        guard path == nil || inode == nil else { throw ValidationError("a path or --inode, not both") }
    }

    /// What was asked for, as it was typed.
    var description: String { path ?? inode.map { "inode \($0)" } ?? "/" }

    /// The file, the root directory when nothing was said.
    func file(in fileSystem: GuestFileSystem) throws(GuestFileError) -> GuestFile {
        if let inode { return try fileSystem.file(inode: inode) }
        return try fileSystem.file(atTyped: path ?? "/")
    }
}

extension GuestFileSystem {
    /// The file at a path that somebody typed: as this command shows it or, where there is no such file, byte for byte.
    func file(atTyped path: String) throws(GuestFileError) -> GuestFile {
        let (shown, exact) = (ByteString(escaped: path), ByteString(path))
        do throws(GuestFileError) {
            return try file(at: shown)
        } catch {
            guard shown != exact, let found = try? file(at: exact) else { throw error }
            return found
        }
    }
}

extension ByteString {
    /// What JSON can hold of a name: the name, or when it is not UTF-8 what people see of it.
    var json: String { text ?? description }

    /// All bytes in hexadecimal, for a name that JSON cannot hold; nil for others.
    var jsonBytes: String? {
        guard text == nil else { return nil }
        return bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}
