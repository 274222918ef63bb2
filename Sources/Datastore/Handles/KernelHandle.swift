import BlockStorage
import CLinux
import Glibc

/// The kernel's own name of a file (name_to_handle_at(2)): on most file systems inode number and generation.
struct KernelHandle: Sendable {
    /// The longest that fits a file handle beside header and code; of the file systems in use only stacked ones
    /// have longer.
    static let maximumCount = 32

    let type: UInt8
    let bytes: InlineArray<32, UInt8>
    let count: Int

    init(type: UInt8, bytes: InlineArray<32, UInt8>, count: Int) {
        self.type = type
        self.bytes = bytes
        self.count = count
    }

    /// The handle of the open file `descriptor`, or nil with `errno` set when there is none that fits.
    init?(of descriptor: Int32) {
        var bytes = InlineArray<32, UInt8>(repeating: 0)
        var count = UInt32(Self.maximumCount)
        var type: Int32 = 0
        let status = withUnsafeMutableBytes(of: &bytes) { buffer in
            linux_name_to_handle_at(
                descriptor, "", buffer.baseAddress?.assumingMemoryBound(to: UInt8.self), &count, &type,
                linux_at_empty_path)
        }
        guard status == 0, let type = UInt8(exactly: type), count > 0, count <= Self.maximumCount else { return nil }
        self.init(type: type, bytes: bytes, count: Int(count))
    }

    /// Opens the file; `directory` is open for reading in the same file system. -1 with `errno` set on failure.
    func open(under directory: Int32, flags: Int32) -> Int32 {
        LockRank.willWait(for: "an open")
        return withUnsafeBytes(of: bytes) { buffer in
            linux_open_by_handle_at(
                directory, buffer.baseAddress?.assumingMemoryBound(to: UInt8.self), UInt32(count), Int32(type), flags)
        }
    }

    /// Whether the file system of `directory` has handles and this process may open them.
    static func canBeOpened(under directory: Int32) -> Bool {
        guard let handle = KernelHandle(of: directory) else { return false }
        let descriptor = handle.open(under: directory, flags: linux_o_path | O_CLOEXEC)
        guard descriptor >= 0 else { return false }
        close(descriptor)
        return true
    }
}
