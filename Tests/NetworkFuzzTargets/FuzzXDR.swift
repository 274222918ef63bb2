import NIOCore
import SunRPC

/// Decodes the input as an RPC call, as a stream of records cut at odd places, and as XDR items of any type.
func fuzzXDR(_ input: UnsafeRawBufferPointer) {
    _ = try? decodeCall(input.bytes)
    assembleRecords(input)
    try? readItems(input)
}

/// The stream arrives in pieces, whose lengths the first byte decides.
private func assembleRecords(_ input: UnsafeRawBufferPointer) {
    guard let seed = input.first else { return }
    var assembler = RecordAssembler(maximumLength: 1 << 16, maximumFragments: 16)
    let stream = input.dropFirst()
    var position = stream.startIndex
    var step = Int(seed % 31) + 1
    while position < stream.endIndex {
        let end = min(stream.endIndex, position + step)
        assembler.append(ByteBuffer(bytes: stream[position..<end]))
        do {
            while let record = try assembler.next() {
                precondition(record.readableBytes <= 1 << 16, "a record longer than the limit")
                record.withUnsafeReadableBytes { _ = try? decodeCall($0.bytes) }
            }
        } catch {
            return
        }
        position = end
        step = step * 5 % 37 + 1
    }
}

/// The first half of the input chooses the types, the second holds the items.
private func readItems(_ input: UnsafeRawBufferPointer) throws(XDRError) {
    let half = input.count / 2
    let items = UnsafeRawBufferPointer(rebasing: input[half...])
    var reader = XDRReader(items.bytes)
    for choice in input[..<half] {
        let limit = Int(choice >> 4) * 16
        switch choice & 15 {
        case 0: _ = try reader.uint32()
        case 1: _ = try reader.int32()
        case 2: _ = try reader.uint64()
        case 3: _ = try reader.int64()
        case 4: _ = try reader.bool()
        case 5: _ = try reader.fixedOpaque(limit)
        case 6: _ = try reader.opaque(max: limit)
        case 7: _ = try reader.opaqueRange(max: limit)
        case 8: _ = try reader.string(max: limit)
        case 9: _ = try reader.arrayCount(max: limit)
        default: try reader.skip(limit)
        }
        precondition(reader.remaining >= 0 && reader.offset + reader.remaining == items.count)
    }
}
