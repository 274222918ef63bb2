import CLinux
import Glibc

/// Reads the entries of a directory as the kernel has them (getdents64(2)).
struct DirectoryStream: ~Copyable {
    /// One entry, valid for the time of the call that hands it out.
    struct Entry {
        let inode: UInt64
        /// Where the kernel goes on after this entry: an offset for `lseek`.
        let nextOffset: Int64
        /// `DT_DIR` and the like; `DT_UNKNOWN` when the file system does not tell.
        let type: UInt8
        let name: UnsafeRawBufferPointer

        /// Whether this is `.` or `..`.
        var isDot: Bool {
            name.count <= 2 && name.allSatisfy { $0 == 0x2e }
        }
    }

    /// Offsets in `struct linux_dirent64`.
    private enum Field {
        static let offset = 8
        static let length = 16
        static let type = 18
        static let name = 19
    }

    private static let bufferCount = 32 << 10

    private let descriptor: Int32
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bufferCount, alignment: 8)

    /// Reads from `descriptor`, a directory open for reading, from its offset on.
    init(_ descriptor: Int32) {
        self.descriptor = descriptor
    }

    deinit {
        buffer.deallocate()
    }

    /// Hands out entries until `body` returns false or there are no more; returns whether there are no more.
    func forEach(_ body: (Entry) throws(DatastoreError) -> Bool) throws(DatastoreError) -> Bool {
        while true {
            let count = linux_getdents64(descriptor, buffer.baseAddress, buffer.count)
            guard count >= 0 else { throw DatastoreError.lastSystemError("read directory") }
            guard count > 0 else { return true }
            var rest = UnsafeRawBufferPointer(rebasing: buffer[..<count])
            while let entry = Self.takeEntry(&rest) {
                guard try body(entry) else { return false }
            }
        }
    }

    private static func takeEntry(_ bytes: inout UnsafeRawBufferPointer) -> Entry? {
        guard bytes.count > Field.name else { return nil }
        let length = Int(bytes.load(fromByteOffset: Field.length, as: UInt16.self))
        guard length > Field.name, length <= bytes.count else { return nil }
        let padded = UnsafeRawBufferPointer(rebasing: bytes[Field.name..<length])
        let nameCount = padded.firstIndex(of: 0) ?? padded.count
        let entry = Entry(
            inode: bytes.load(as: UInt64.self), nextOffset: bytes.load(fromByteOffset: Field.offset, as: Int64.self),
            type: bytes[Field.type], name: UnsafeRawBufferPointer(rebasing: padded[..<nameCount]))
        bytes = UnsafeRawBufferPointer(rebasing: bytes[length...])
        return entry
    }
}
