import Glibc

/// A client of a server that may end at any moment: calls, one after the other, and what came of each.
final class CrashClient {
    /// Seconds after which a server that does not answer is taken to hang.
    static let patience = 30

    /// What came of a call.
    enum Answer<Value> {
        case done(Value)
        /// The status of the protocol (RFC 1813 section 2.6).
        case refused(UInt32)
    }

    /// A WRITE's results.
    struct Written {
        var count: Int
        var isStable: Bool
        var verifier: UInt64
    }

    /// The exported directory's handle.
    let root: [UInt8]
    private let connection: NFSConnection

    /// Connects, and mounts `export`.
    init(_ export: String, port: UInt16, mountPort: UInt16) throws(NFSClientError) {
        let mount = try NFSConnection(host: "127.0.0.1", port: mountPort, patience: Self.patience)
        guard let root = NFSCalls.opaque(try mount.call(NFSCalls.mount(export), "MNT")) else {
            throw NFSClientError("MNT: no handle")
        }
        self.root = root
        connection = try NFSConnection(host: "127.0.0.1", port: port, patience: Self.patience)
    }

    /// The handle of a name in the exported directory.
    func lookup(_ name: String) throws(NFSClientError) -> Answer<[UInt8]> {
        try call(NFSCalls.lookup(name, in: root)) { results in NFSCalls.opaque(Array(results)) }
    }

    /// A file's length in bytes.
    func size(of file: [UInt8]) throws(NFSClientError) -> Answer<Int> {
        // type, mode, links, user, group, then the length
        try call(NFSCalls.attributes(of: file)) { results in Self.number(results, at: 20).map(Int.init) }
    }

    /// Reads to `buffer`; the number of bytes.
    func read(
        _ file: [UInt8], at offset: Int, into buffer: UnsafeMutableRawBufferPointer
    ) throws(NFSClientError) -> Answer<Int> {
        try connection.send(NFSCalls.read(file, offset: offset, count: buffer.count))
        let answer: Answer<Int>? = try connection.receive { reply in
            if let count = NFSCalls.copyData(ofRead: reply, to: buffer) { return .done(count) }
            return NFSCalls.status(reply).flatMap { $0 == 0 ? nil : .refused($0) }
        }
        guard let answer else { throw NFSClientError("READ: not a reply") }
        return answer
    }

    /// Writes `bytes`, whose number is a multiple of four.
    func write(
        _ file: [UInt8], at offset: Int, _ bytes: UnsafeRawBufferPointer, isStable: Bool
    ) throws(NFSClientError) -> Answer<Written> {
        try connection.send(NFSCalls.write(file, offset: offset, count: bytes.count, isStable: isStable))
        try connection.send(bytes)
        return try answer("WRITE") { results in
            let rest = Self.afterConsistency(results)
            guard rest.count == 16, let count = Self.word(rest, at: 0), let level = Self.word(rest, at: 4),
                let verifier = Self.number(rest, at: 8)
            else { return nil }
            return Written(count: Int(count), isStable: level != 0, verifier: verifier)
        }
    }

    /// Commits the whole of a file; the verifier.
    func commit(_ file: [UInt8]) throws(NFSClientError) -> Answer<UInt64> {
        try call(NFSCalls.commit(file)) { results in Self.number(Self.afterConsistency(results), at: 0) }
    }

    /// Sets a file's length in bytes.
    func setSize(of file: [UInt8], to size: Int) throws(NFSClientError) -> Answer<Void> {
        try call(NFSCalls.setSize(of: file, to: size)) { _ in () }
    }

    /// Renames in the exported directory.
    func rename(_ name: String, to newName: String) throws(NFSClientError) -> Answer<Void> {
        try call(NFSCalls.rename(name, to: newName, in: root)) { _ in () }
    }

    private func call<Value>(
        _ record: [UInt8], _ results: (UnsafeRawBufferPointer) -> Value?
    ) throws(NFSClientError) -> Answer<Value> {
        try connection.send(record)
        return try answer("a call", results)
    }

    private func answer<Value>(
        _ name: String, _ results: (UnsafeRawBufferPointer) -> Value?
    ) throws(NFSClientError) -> Answer<Value> {
        let answer: Answer<Value>? = try connection.receive { reply in
            guard let status = NFSCalls.status(reply) else { return nil }
            guard status == 0 else { return .refused(status) }
            return results(UnsafeRawBufferPointer(rebasing: reply[NFSCalls.replyHeaderLength...])).map { .done($0) }
        }
        guard let answer else { throw NFSClientError("\(name): not a reply") }
        return answer
    }

    /// What follows `wcc_data` (RFC 1813 section 2.6).
    private static func afterConsistency(_ results: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        var start = 0
        for length in [24, 84] { start += word(results, at: start) == 1 ? 4 + length : 4 }
        return UnsafeRawBufferPointer(rebasing: results[min(start, results.count)...])
    }

    private static func word(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> UInt32? {
        guard bytes.count >= offset + 4 else { return nil }
        return UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }

    private static func number(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> UInt64? {
        guard bytes.count >= offset + 8 else { return nil }
        return UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
    }
}
