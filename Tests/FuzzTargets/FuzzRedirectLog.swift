import BlockStorage
import TestTools
import Tiering

private let blockSize = 512
private let logSize = 2 * blockSize + 64 * 4 * blockSize
private let headerSize = 128

/// Recovers a log that the input describes, and uses it: its superblock without magic and checksum, then records.
///
/// A record is a byte of flags, two of its place in units of 8 bytes, the header without magic and checksum, and as much
/// of the payload as the header says and the input has. Checksums are put right, but for that of a payload whose record
/// has the first flag: what a device makes of itself is found by them, and never gets further. No record is of an epoch
/// that has not begun: epochs begin at a number of 62 random bits.
func fuzzRedirectLog(_ input: UnsafeRawBufferPointer) {
    let device = MemoryDevice(size: logSize)
    var rest = input[...]
    var superblock = [UInt8]("IRLOGSB1".utf8) + [UInt8](repeating: 0, count: 8) + take(56, from: &rest)
    let checksum = superblock[16...].withUnsafeBytes { CRC32C.checksum($0) }
    superblock.replaceSubrange(8..<12, with: bytes(of: checksum))
    // Of the first form, whose two copies must both be whole.
    for offset in [0, blockSize] { try? device.write(superblock, at: offset) }
    let epoch = superblock[40..<48]
    while !rest.isEmpty {
        let flags = take(1, from: &rest)[0]
        let place = take(2, from: &rest)
        let (record, offset) = (record(flags, until: epoch, from: &rest), 8 * (Int(place[0]) | Int(place[1]) << 8))
        let start = 2 * blockSize + offset % (logSize - 2 * blockSize)
        try? device.write(Array(record.prefix(logSize - start)), at: start)
    }
    guard let log = try? RedirectLog(recovering: device) else { return }
    let live = log.liveByteCounts
    precondition(live.values.reduce(0, +) == log.liveByteCount, "images have other live bytes than the log")
    guard let again = try? RedirectLog(recovering: device) else { preconditionFailure("recovered only once") }
    precondition(again.liveByteCounts == live, "recovered differently the second time")
    use(again)
}

/// Reads, writes and destages.
private func use(_ log: RedirectLog) {
    let image = MemoryDevice(size: 1 << 16)
    let range = ByteRange(offset: 0, length: 8 * blockSize)
    let buffer = AlignedBuffer(count: range.length)
    for name in log.images.prefix(2) {
        try? log.read(range, of: name, into: buffer.bytes) { () throws(StorageError) in
            try image.read(into: buffer.bytes, at: 0)
        }
        _ = try? log.write(
            UnsafeRawBufferPointer(rebasing: buffer.bytes[..<blockSize]), to: name, at: 3 * blockSize, priority: 0,
            isWanted: true)
    }
    try? Destager(log: log, openImage: { _ in UnsharedTarget(image) }).pass(sparing: 0)
    _ = log.fullness
}

private func record(
    _ flags: UInt8, until epoch: ArraySlice<UInt8>, from rest: inout Slice<UnsafeRawBufferPointer>
) -> [UInt8] {
    var record = Array("IRL1".utf8) + [0, 0, 0, 0] + take(headerSize - 8, from: &rest)
    // Little-endian numbers, compared from their ends.
    if epoch.reversed().lexicographicallyPrecedes(record[16..<24].reversed()) {
        record.replaceSubrange(16..<24, with: epoch)
    }
    let length = Int(record[48]) | Int(record[49]) << 8
    let payload = take(min(length, rest.count), from: &rest) + [UInt8](repeating: 0, count: max(0, length - rest.count))
    if flags & 1 == 0 {
        let checksum = payload.prefix(length).withUnsafeBytes { CRC32C.checksum($0) }
        record.replaceSubrange(8..<12, with: bytes(of: checksum))
    }
    let checksum = record[8...].withUnsafeBytes { CRC32C.checksum($0) }
    record.replaceSubrange(4..<8, with: bytes(of: checksum))
    return record + payload.prefix(length)
}

/// The next `count` bytes, and zeros where there are no more.
private func take(_ count: Int, from rest: inout Slice<UnsafeRawBufferPointer>) -> [UInt8] {
    let taken = Array(rest.prefix(count))
    rest = rest.dropFirst(count)
    return taken + [UInt8](repeating: 0, count: count - taken.count)
}

private func bytes(of number: UInt32) -> [UInt8] {
    withUnsafeBytes(of: number.littleEndian) { Array($0) }
}
