import BlockStorage
import CNettle
import Glibc

/// Makes file handles and tells those it made from any other bytes.
///
/// The layout, in bytes, all numbers little-endian:
///
///     0       version, 1
///     1       scheme: 1 kernel handle, 2 inode number and birth time
///     2       type of the kernel handle; of scheme 2, whether the file system knows birth times
///     3       length n of the identity, at most 32
///     4       zero
///     8       export
///     16      identity: the kernel handle, or inode number (8), seconds (8) and nanoseconds (4) of the birth time
///     16 + n  the first 16 bytes of HMAC-SHA256 over all that comes before
///
/// One file has one handle: the same bytes each time it is looked up, also after a restart.
struct HandleCodec: Sendable {
    /// What a handle says.
    struct Content: Sendable {
        enum Identity: Sendable {
            case kernel(KernelHandle)
            case inode(InodeIdentity)

            var isKernelHandle: Bool {
                if case .kernel = self { true } else { false }
            }
        }

        let exportID: UInt64
        let identity: Identity
    }

    private static let version: UInt8 = 1
    private static let kernelScheme: UInt8 = 1
    private static let inodeScheme: UInt8 = 2
    private static let headerCount = 16
    private static let codeCount = 16
    private static let inodeCount = 20

    /// HMAC-SHA256 that has taken in the key, and nothing else.
    private let keyed: hmac_sha256_ctx

    /// Signs with `key`, 32 bytes.
    init(key: [UInt8]) {
        var keyed = hmac_sha256_ctx()
        nettle_hmac_sha256_set_key(&keyed, key.count, key)
        self.keyed = keyed
    }

    /// The handle of a file in the export `exportID`.
    func seal(_ content: Content) -> FileHandle {
        var words = InlineArray<8, UInt64>(repeating: 0)
        var identityCount = 0
        withUnsafeMutableBytes(of: &words) { bytes in
            switch content.identity {
            case .kernel(let handle):
                bytes[1] = Self.kernelScheme
                bytes[2] = handle.type
                identityCount = handle.count
                for index in 0..<handle.count { bytes[Self.headerCount + index] = handle.bytes[index] }
            case .inode(let identity):
                bytes[1] = Self.inodeScheme
                bytes[2] = identity.birthTime == nil ? 0 : 1
                identityCount = Self.inodeCount
                bytes.setLittleEndian(identity.inode, at: 16)
                bytes.setLittleEndian(identity.birthTime?.seconds ?? 0, at: 24)
                bytes.setLittleEndian(identity.birthTime?.nanoseconds ?? 0, at: 32)
            }
            bytes[0] = Self.version
            bytes[3] = UInt8(identityCount)
            bytes.setLittleEndian(content.exportID, at: 8)
            let signed = Self.headerCount + identityCount
            let code = authenticationCode(UnsafeRawBufferPointer(rebasing: bytes[..<signed]))
            for index in 0..<Self.codeCount { bytes[signed + index] = code[index] }
        }
        return FileHandle(words: words, count: Self.headerCount + identityCount + Self.codeCount)
    }

    /// What `handle` says; throws `badHandle` unless a codec with the same key made it.
    func open(_ handle: FileHandle) throws(DatastoreError) -> Content {
        let content = handle.withUnsafeBytes { parse($0) }
        guard let content else { throw DatastoreError(.badHandle, "not a handle of this server") }
        return content
    }

    /// The export that the bytes name, unchecked.
    static func exportID(of handle: FileHandle) -> UInt64? {
        handle.withUnsafeBytes { bytes in
            guard bytes.count >= headerCount else { return nil }
            return bytes.littleEndian(at: 8, as: UInt64.self)
        }
    }

    private func parse(_ bytes: UnsafeRawBufferPointer) -> Content? {
        guard bytes.count >= Self.headerCount + Self.codeCount, bytes[0] == Self.version else { return nil }
        let identityCount = Int(bytes[3])
        let signed = Self.headerCount + identityCount
        guard identityCount <= KernelHandle.maximumCount, bytes.count == signed + Self.codeCount else { return nil }
        guard isAuthentic(bytes, signed: signed) else { return nil }
        let exportID = bytes.littleEndian(at: 8, as: UInt64.self)
        switch bytes[1] {
        case Self.kernelScheme:
            var identity = InlineArray<32, UInt8>(repeating: 0)
            for index in 0..<identityCount { identity[index] = bytes[Self.headerCount + index] }
            let handle = KernelHandle(type: bytes[2], bytes: identity, count: identityCount)
            return Content(exportID: exportID, identity: .kernel(handle))
        case Self.inodeScheme where identityCount == Self.inodeCount:
            let time = FileTime(
                seconds: bytes.littleEndian(at: 24),
                nanoseconds: bytes.littleEndian(at: 32))
            let inode = bytes.littleEndian(at: 16, as: UInt64.self)
            let identity = InodeIdentity(inode: inode, birthTime: bytes[2] == 0 ? nil : time)
            return Content(exportID: exportID, identity: .inode(identity))
        default:
            return nil
        }
    }

    /// Compares every byte, so that the time taken tells nothing of where the code differs.
    private func isAuthentic(_ bytes: UnsafeRawBufferPointer, signed: Int) -> Bool {
        let code = authenticationCode(UnsafeRawBufferPointer(rebasing: bytes[..<signed]))
        var difference: UInt8 = 0
        for index in 0..<Self.codeCount {
            difference |= code[index] ^ bytes[signed + index]
        }
        return difference == 0
    }

    private func authenticationCode(_ bytes: UnsafeRawBufferPointer) -> InlineArray<16, UInt8> {
        var context = keyed
        var code = InlineArray<16, UInt8>(repeating: 0)
        nettle_hmac_sha256_update(&context, bytes.count, bytes.bindMemory(to: UInt8.self).baseAddress)
        withUnsafeMutableBytes(of: &code) { code in
            nettle_hmac_sha256_digest(&context, code.count, code.bindMemory(to: UInt8.self).baseAddress)
        }
        return code
    }
}
