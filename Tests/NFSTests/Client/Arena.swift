import RPCGenClient

/// Owns the C memory that the arguments of one call point at.
final class Arena {
    private var blocks: [UnsafeMutableRawPointer] = []

    deinit {
        for block in blocks {
            block.deallocate()
        }
    }

    func copy(_ bytes: some Collection<UInt8>) -> UnsafeMutablePointer<CChar> {
        let block = UnsafeMutableRawPointer.allocate(byteCount: max(bytes.count, 1), alignment: 8)
        UnsafeMutableRawBufferPointer(start: block, count: bytes.count).copyBytes(from: bytes)
        blocks.append(block)
        return block.assumingMemoryBound(to: CChar.self)
    }

    func string(_ text: String) -> UnsafeMutablePointer<CChar> {
        copy(Array(text.utf8) + [0])
    }

    func handle(_ handle: Handle) -> nfs_fh3 {
        nfs_fh3(data: .init(data_len: UInt32(handle.bytes.count), data_val: copy(handle.bytes)))
    }

    func operand(_ directory: Handle, _ name: String) -> diropargs3 {
        diropargs3(dir: self.handle(directory), name: string(name))
    }
}

/// A file handle as the client sees it: bytes without meaning.
struct Handle: Hashable {
    var bytes: [UInt8]

    init(_ bytes: [UInt8]) {
        self.bytes = bytes
    }

    init(_ handle: nfs_fh3) {
        bytes = copyBytes(handle.data.data_val, handle.data.data_len)
    }

    init?(_ optional: post_op_fh3) {
        guard optional.handle_follows != 0 else { return nil }
        self.init(optional.post_op_fh3_u.handle)
    }
}

func copyBytes(_ start: UnsafeMutablePointer<CChar>?, _ count: UInt32) -> [UInt8] {
    Array(UnsafeRawBufferPointer(start: start, count: Int(count)))
}
