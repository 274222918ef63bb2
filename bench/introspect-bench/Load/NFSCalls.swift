/// Calls of MOUNT v3 and NFS v3 as records, and what the load generator wants to know of the replies (RFC 1813).
enum NFSCalls {
    /// `MOUNTPROC3_MNT` of `path`.
    static func mount(_ path: String) -> [UInt8] {
        record(program: 100_005, procedure: 1) { $0.appendOpaque(Array(path.utf8)) }
    }

    /// `NFSPROC3_GETATTR` of `file`.
    static func attributes(of file: [UInt8]) -> [UInt8] {
        record(procedure: 1) { $0.appendOpaque(file) }
    }

    /// `NFSPROC3_SETATTR` of the size of `file` alone.
    static func setSize(of file: [UInt8], to size: Int) -> [UInt8] {
        record(procedure: 2) {
            $0.appendOpaque(file)
            // No mode, user or group; the size; both times as they are; no guard.
            for word: UInt32 in [0, 0, 0, 1] { $0.append(word) }
            $0.append(UInt64(size))
            for word: UInt32 in [0, 0, 0] { $0.append(word) }
        }
    }

    /// `NFSPROC3_LOOKUP` of `name` in `directory`.
    static func lookup(_ name: String, in directory: [UInt8]) -> [UInt8] {
        record(procedure: 3) {
            $0.appendOpaque(directory)
            $0.appendOpaque(Array(name.utf8))
        }
    }

    /// `NFSPROC3_READ` of `count` bytes of `file` at `offset`.
    static func read(_ file: [UInt8], offset: Int, count: Int) -> [UInt8] {
        record(procedure: 6) {
            $0.appendOpaque(file)
            $0.append(UInt64(offset))
            $0.append(UInt32(count))
        }
    }

    /// `NFSPROC3_WRITE` of `count` bytes at `offset`, up to where the bytes follow, padded to a multiple of four.
    static func write(_ file: [UInt8], offset: Int, count: Int, isStable: Bool) -> [UInt8] {
        record(procedure: 7, payload: (count + 3) / 4 * 4) {
            $0.appendOpaque(file)
            $0.append(UInt64(offset))
            $0.append(UInt32(count))
            $0.append(UInt32(isStable ? 2 : 0))
            $0.append(UInt32(count))
        }
    }

    /// `NFSPROC3_RENAME` of a name to another in the same directory.
    static func rename(_ name: String, to newName: String, in directory: [UInt8]) -> [UInt8] {
        record(procedure: 14) {
            for name in [name, newName] {
                $0.appendOpaque(directory)
                $0.appendOpaque(Array(name.utf8))
            }
        }
    }

    /// `NFSPROC3_READDIRPLUS` from `cookie`, as much as fits in `count` bytes.
    static func readDirectory(_ directory: [UInt8], cookie: UInt64, verifier: UInt64, count: Int) -> [UInt8] {
        record(procedure: 17) {
            $0.appendOpaque(directory)
            $0.append(cookie)
            $0.append(verifier)
            $0.append(UInt32(count))
            $0.append(UInt32(count))
        }
    }

    /// `NFSPROC3_COMMIT` of the whole of `file`.
    static func commit(_ file: [UInt8]) -> [UInt8] {
        record(procedure: 21) {
            $0.appendOpaque(file)
            $0.append(UInt64(0))
            $0.append(UInt32(0))
        }
    }

    /// Where the transaction number stands in every record.
    static let transactionOffset = 4

    /// Where the offset stands in a READ or WRITE of a file with this handle.
    static func offsetOffset(_ file: [UInt8]) -> Int {
        // record mark, seven words of the header, nine of the credential and verifier, the handle's length
        4 * (1 + 6 + 9 + 1) + (file.count + 3) / 4 * 4
    }

    /// Bytes of a reply from the transaction to the status: what ``isSuccess(_:)`` looks at.
    static let replyHeaderLength = 28

    /// Whether a call was accepted and carried out.
    static func isSuccess(_ reply: UnsafeRawBufferPointer) -> Bool {
        // xid, reply, accepted, verifier flavour and length (always empty here), accept status, NFS status
        reply.count >= replyHeaderLength && reply[4..<replyHeaderLength].reduce(0, { $0 | $1 }) == 1
    }

    /// The status of a call that was accepted; nil for any other reply.
    static func status(_ reply: UnsafeRawBufferPointer) -> UInt32? {
        guard reply.count >= replyHeaderLength, reply[4..<replyHeaderLength - 4].reduce(0, { $0 | $1 }) == 1 else {
            return nil
        }
        return reply[replyHeaderLength - 4..<replyHeaderLength].reduce(0) { $0 << 8 | UInt32($1) }
    }

    /// What follows the RPC header and the status of a reply, or nil unless both say success.
    static func results(_ reply: UnsafeRawBufferPointer) -> [UInt8]? {
        isSuccess(reply) ? Array(reply[replyHeaderLength...]) : nil
    }

    /// Copies the bytes of a READ's reply to `buffer`; their number, or nil when the call failed or the reply is cut.
    static func copyData(ofRead reply: UnsafeRawBufferPointer, to buffer: UnsafeMutableRawBufferPointer) -> Int? {
        guard isSuccess(reply), reply.count >= replyHeaderLength + 4 else { return nil }
        // The file's attributes, if there are any, then count and end of file, and the bytes with their length.
        let hasAttributes = reply[replyHeaderLength + 3] != 0
        let start = replyHeaderLength + 4 + (hasAttributes ? 84 : 0) + 12
        guard reply.count >= start else { return nil }
        let count = Int(reply[start - 4..<start].reduce(UInt32(0)) { $0 << 8 | UInt32($1) })
        guard count <= buffer.count, count <= reply.count - start else { return nil }
        buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: reply[start..<start + count]))
        return count
    }

    /// The opaque that `results` begin with.
    static func opaque(_ results: [UInt8]) -> [UInt8]? {
        guard results.count >= 4 else { return nil }
        let count = Int(results[..<4].reduce(0) { $0 << 8 | UInt32($1) })
        guard count <= results.count - 4 else { return nil }
        return Array(results[4..<4 + count])
    }

    private static func record(
        program: UInt32 = 100_003, procedure: UInt32, payload: Int = 0, _ arguments: (inout [UInt8]) -> Void
    ) -> [UInt8] {
        var bytes: [UInt8] = []
        for word: UInt32 in [0, 1, 0, 2, program, 3, procedure] { bytes.append(word) }
        // AUTH_SYS: stamp 0, no machine name, user and group 0, no other groups; then an empty verifier.
        for word: UInt32 in [1, 20, 0, 0, 0, 0, 0, 0, 0] { bytes.append(word) }
        arguments(&bytes)
        let mark = 0x8000_0000 | UInt32(bytes.count - 4 + payload)
        for index in 0..<4 { bytes[index] = UInt8(truncatingIfNeeded: mark >> (24 - 8 * UInt32(index))) }
        return bytes
    }
}

extension [UInt8] {
    fileprivate mutating func append(_ word: UInt32) {
        Swift.withUnsafeBytes(of: word.bigEndian) { append(contentsOf: $0) }
    }

    fileprivate mutating func append(_ word: UInt64) {
        Swift.withUnsafeBytes(of: word.bigEndian) { append(contentsOf: $0) }
    }

    fileprivate mutating func appendOpaque(_ bytes: [UInt8]) {
        append(UInt32(bytes.count))
        append(contentsOf: bytes)
        append(contentsOf: [UInt8](repeating: 0, count: (4 - bytes.count % 4) % 4))
    }
}
