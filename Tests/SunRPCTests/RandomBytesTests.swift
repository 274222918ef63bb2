import NIOCore
import Testing

@testable import SunRPC

/// Random and mutated bytes through everything that looks at bytes first. The seed is fixed: a failure comes back.
/// The loops yield, because other tests measure time in the meanwhile.
@Suite struct RandomBytesTests {
    /// Calls, cut, changed and overwritten, decode or are refused, and never point outside their bytes.
    @Test func mutatedCallsNeverReachOutside() async {
        var generator = SeededGenerator(seed: 0x5EED_0001)
        let templates = [
            call(xid: 1, procedure: 1, arguments: [UInt8](repeating: 7, count: 32)),
            call(xid: 2, procedure: 7, credential: authSystem(), arguments: [UInt8](repeating: 7, count: 64)),
            call(xid: 3, procedure: 6, credential: authSystem(machine: "m", groups: Array(1...16))),
            call(xid: 4, procedure: 0, credential: words(6, 8, 1, 2), verifier: words(6, 4, 1)),
        ]
        var memo = CredentialMemo()
        var decodedCalls = 0
        var denied = 0
        for round in 0..<60_000 {
            if round % 500 == 0 { await Task.yield() }
            let bytes = mutate(templates[round % templates.count], &generator)
            do throws(RPCHeaderError) {
                let decoded = try decodeCall(bytes.span.bytes, memo: &memo)
                if try decodeCall(bytes.span.bytes) != decoded { Issue.record("round \(round): the memo matters") }
                switch decoded {
                case .denied: denied += 1
                case .call(let header):
                    decodedCalls += 1
                    if header.byteCount > bytes.count || header.byteCount < 40 {
                        Issue.record("round \(round): a header of \(header.byteCount) in \(bytes.count) bytes")
                    }
                    if case .system(let user) = header.credential, user.groups.count > 16 {
                        Issue.record("round \(round): \(user.groups.count) groups")
                    }
                }
            } catch {}
        }
        // The mutations are worth something only if all outcomes come up.
        #expect(decodedCalls > 1000)
        #expect(denied > 1000)
    }

    /// Whatever the stream, the assembler gives back no more than it got, and nothing above its limit.
    @Test func randomStreamsNeverYieldMoreThanTheyHold() async {
        var generator = SeededGenerator(seed: 0x5EED_0002)
        var records = 0
        var refused = 0
        for round in 0..<20_000 {
            if round % 500 == 0 { await Task.yield() }
            var assembler = RecordAssembler(maximumLength: 300, maximumFragments: 8)
            var given = 0
            var taken = 0
            do throws(RecordError) {
                for _ in 0..<Int.random(in: 1...8, using: &generator) {
                    let piece = streamPiece(&generator)
                    given += piece.count
                    assembler.append(ByteBuffer(bytes: piece))
                    while let record = try assembler.next() {
                        records += 1
                        taken += record.readableBytes + RecordMark.length
                        if record.readableBytes > 300 || taken > given {
                            Issue.record("round \(round): \(taken) of \(given) bytes, \(record.readableBytes) in one")
                        }
                    }
                }
            } catch {
                refused += 1
            }
        }
        #expect(records > 1000)
        #expect(refused > 1000)
    }

    /// Every reader method, in random order over random bytes, stays inside and moves only when it succeeds.
    @Test func randomReadsStayInside() async {
        var generator = SeededGenerator(seed: 0x5EED_0003)
        for round in 0..<40_000 {
            if round % 500 == 0 { await Task.yield() }
            let bytes = mutate([UInt8](repeating: 0, count: Int.random(in: 0...48, using: &generator)), &generator)
            var reader = XDRReader(bytes.span.bytes)
            for _ in 0..<6 {
                let before = reader.offset
                let kind = Int.random(in: 0...8, using: &generator)
                do throws(XDRError) {
                    try read(kind, from: &reader, &generator)
                } catch {
                    if reader.offset != before { Issue.record("round \(round): kind \(kind) failed and moved") }
                }
                if reader.offset > bytes.count || reader.offset < before {
                    Issue.record("round \(round): kind \(kind) at \(reader.offset) of \(bytes.count)")
                }
            }
        }
    }

    private func read(
        _ kind: Int, from reader: inout XDRReader, _ generator: inout SeededGenerator
    ) throws(XDRError) {
        let count = Int.random(in: -2...20, using: &generator)
        switch kind {
        case 0: _ = try reader.uint32()
        case 1: _ = try reader.uint64()
        case 2: _ = try reader.bool()
        case 3: _ = try reader.fixedOpaque(count)
        case 4: _ = try reader.opaque(max: max(0, count))
        case 5: _ = try reader.string(max: .max)
        case 6: _ = try reader.arrayCount(max: max(0, count))
        case 7: _ = try reader.opaqueRange(max: .max)
        default: try reader.skip(count)
        }
    }

    /// A template with a few bytes changed, words overwritten by interesting numbers, or its end cut or grown.
    private func mutate(_ template: [UInt8], _ generator: inout SeededGenerator) -> [UInt8] {
        var bytes = template
        let interesting: [UInt32] = [0, 1, 2, 3, 16, 17, 255, 256, 400, 401, 0x7FFF_FFFF, 0x8000_0000, .max]
        for _ in 0..<Int.random(in: 0...3, using: &generator) where !bytes.isEmpty {
            switch Int.random(in: 0...3, using: &generator) {
            case 0: bytes[Int.random(in: 0..<bytes.count, using: &generator)] = .random(in: 0...255, using: &generator)
            case 1:
                let place = Int.random(in: 0..<bytes.count, using: &generator) & ~3
                let word = words(interesting[Int.random(in: 0..<interesting.count, using: &generator)])
                bytes.replaceSubrange(place..<min(place + 4, bytes.count), with: word)
            case 2: bytes.removeLast(Int.random(in: 0...bytes.count, using: &generator))
            default:
                bytes += (0..<Int.random(in: 0...9, using: &generator)).map { _ in
                    .random(in: 0...255, using: &generator)
                }
            }
        }
        return bytes
    }

    /// Fragments that are mostly plausible.
    private func streamPiece(_ generator: inout SeededGenerator) -> [UInt8] {
        let length = Int.random(in: 0...120, using: &generator)
        let body = (0..<length).map { _ in UInt8.random(in: 0...255, using: &generator) }
        let last = Bool.random(using: &generator) ? RecordMark.lastFragment : 0
        let whole = words(UInt32(length) | last) + body
        return Int.random(in: 0...9, using: &generator) == 0
            ? Array(whole.dropLast(Int.random(in: 0...whole.count, using: &generator))) : whole
    }
}
