import NIOCore

@testable import SunRPC

/// The error that `body` throws.
func failure<Failure: Error>(_ body: () throws(Failure) -> Void) -> Failure? {
    do {
        try body()
        return nil
    } catch {
        return error
    }
}

/// `values` as they go on the wire.
func words(_ values: UInt32...) -> [UInt8] {
    values.flatMap { value in withUnsafeBytes(of: value.bigEndian) { Array($0) } }
}

extension RawSpan {
    /// The bytes, to compare.
    var array: [UInt8] { withUnsafeBytes { Array($0) } }
}

extension ByteBuffer {
    /// The readable bytes, to compare.
    var array: [UInt8] { Array(readableBytesView) }

    /// Where the readable bytes are in memory: tells a slice from a copy.
    var address: UInt { withUnsafeReadableBytes { UInt(bitPattern: $0.baseAddress) } }
}

/// A record of one fragment.
func record(_ bytes: [UInt8]) -> [UInt8] {
    words(RecordMark.last(length: bytes.count)) + bytes
}

/// A call without its record mark.
func call(
    xid: UInt32, program: UInt32 = EchoProgram.number, version: UInt32 = 3, procedure: UInt32,
    credential: [UInt8] = words(0, 0), verifier: [UInt8] = words(0, 0), arguments: [UInt8] = []
) -> [UInt8] {
    words(xid, 0, 2, program, version, procedure) + credential + verifier + arguments
}

/// An AUTH_SYS credential: flavour, length, body.
func authSystem(machine: String = "client", uid: UInt32 = 1000, groups: [UInt32] = [4, 20]) -> [UInt8] {
    var writer = XDRWriter(capacity: 64)
    writer.write(0x1234 as UInt32)
    writer.write(machine)
    writer.write(uid)
    writer.write(100 as UInt32)
    writer.write(UInt32(groups.count))
    for group in groups {
        writer.write(group)
    }
    return words(1, UInt32(writer.count)) + writer.buffer.array
}

/// The reply to a call that was carried out, without its record mark.
func success(xid: UInt32, _ results: [UInt8] = []) -> [UInt8] {
    words(xid, 1, 0, 0, 0, 0) + results
}

/// A generator whose numbers are the same in every run (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) {
        state = seed
    }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return word ^ (word >> 31)
    }
}
