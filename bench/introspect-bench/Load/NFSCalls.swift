/// Calls of MOUNT v3 and NFS v3 as records, and what the load generator wants to know of the replies (RFC 1813).
enum NFSCalls {
    /// `MOUNTPROC3_MNT` of `path`.
    static func mount(_ path: String) -> [UInt8] {
        record(program: 100_005, procedure: 1) { $0.appendOpaque(Array(path.utf8)) }
    }

    /// `NFSPROC3_LOOKUP` of `name` in `directory`.
    static func lookup(_ name: String, in directory: [UInt8]) -> [UInt8] {
        record(program: 100_003, procedure: 3) {
            $0.appendOpaque(directory)
            $0.appendOpaque(Array(name.utf8))
        }
    }

    /// `NFSPROC3_GETATTR` of `file`.
    static func attributes(of file: [UInt8]) -> [UInt8] {
        record(program: 100_003, procedure: 1) { $0.appendOpaque(file) }
    }

    /// `NFSPROC3_READ` of `count` bytes of `file` at `offset`.
    static func read(_ file: [UInt8], offset: UInt64, count: Int, transaction: UInt32) -> [UInt8] {
        record(program: 100_003, procedure: 6, transaction: transaction) {
            $0.appendOpaque(file)
            $0.append(UInt32(offset >> 32))
            $0.append(UInt32(truncatingIfNeeded: offset))
            $0.append(UInt32(count))
        }
    }

    /// The results of a reply that was accepted: what follows the RPC header and the status, or nil unless both say
    /// success.
    static func results(_ reply: UnsafeRawBufferPointer) -> [UInt8]? {
        // xid, reply, accepted, verifier flavour and length (always empty here), accept status, NFS status
        guard reply.count >= 28, reply[4..<28].reduce(0, { $0 | $1 }) == 1 else { return nil }
        return Array(reply[28...])
    }

    /// The transaction that a reply belongs to.
    static func transaction(_ reply: UnsafeRawBufferPointer) -> UInt32 {
        guard reply.count >= 4 else { return 0 }
        return reply[..<4].reduce(0) { $0 << 8 | UInt32($1) }
    }

    /// The opaque that `results` begin with.
    static func opaque(_ results: [UInt8]) -> [UInt8]? {
        guard results.count >= 4 else { return nil }
        let count = Int(results[..<4].reduce(0) { $0 << 8 | UInt32($1) })
        guard count <= results.count - 4 else { return nil }
        return Array(results[4..<4 + count])
    }

    private static func record(
        program: UInt32, procedure: UInt32, transaction: UInt32 = 1, _ arguments: (inout [UInt8]) -> Void
    ) -> [UInt8] {
        var bytes: [UInt8] = []
        for word: UInt32 in [0, transaction, 0, 2, program, 3, procedure] { bytes.append(word) }
        // AUTH_SYS: stamp 0, no machine name, user and group 0, no other groups; then an empty verifier.
        for word: UInt32 in [1, 20, 0, 0, 0, 0, 0, 0, 0] { bytes.append(word) }
        arguments(&bytes)
        let mark = 0x8000_0000 | UInt32(bytes.count - 4)
        for index in 0..<4 { bytes[index] = UInt8(truncatingIfNeeded: mark >> (24 - 8 * UInt32(index))) }
        return bytes
    }
}

extension [UInt8] {
    fileprivate mutating func append(_ word: UInt32) {
        for shift in [24, 16, 8, 0] as [UInt32] { append(UInt8(truncatingIfNeeded: word >> shift)) }
    }

    fileprivate mutating func appendOpaque(_ bytes: [UInt8]) {
        append(UInt32(bytes.count))
        append(contentsOf: bytes)
        append(contentsOf: [UInt8](repeating: 0, count: (4 - bytes.count % 4) % 4))
    }
}
