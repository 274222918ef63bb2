import BlockStorage

/// Where the log begins, 96 bytes, little-endian:
///
///       0  magic "IRLOGSB2"               56  position of the checkpoint, all ones for none
///       8  CRC-32C of what follows        64  block size, 4 bytes; segment size in blocks, 4 bytes
///      12  size of all this, 4 bytes      72  layout, 1 byte; zero
///      16  identity of the log            74  number of this device, 2 bytes
///      32  generation                     76  number of devices, 2 bytes
///      40  epoch of what is written from  78  size of a stripe's header in units of 4 KiB, 2 bytes
///          there on                       80  zero
///      48  position where that epoch starts
///
/// Every device has two copies, each in a block of its own. Nothing is done on the strength of a superblock before both
/// copies on all devices have it, and they are written one after the other: so either copy alone is enough, whichever
/// is damaged, and a write that is torn leaves the other.
///
/// The first form, "IRLOGSB1", ends at 72, has a checksum of what follows 16 and zeros from 12 to there, and only the
/// older of its copies was written: when one is damaged it is not known whether the other is good enough.
struct LogSuperblock {
    private static let prefix = Array("IRLOGSB".utf8)
    /// The newest form.
    static let form = 2
    private static let sizes = [1: 72, 2: 96]
    private static let noCheckpoint = UInt64.max
    private static let headerUnit = 4096
    /// No log gets so far.
    static let largestGeneration: UInt64 = 1 << 63

    var identity: UInt128
    var generation: UInt64 = 1
    var epoch: UInt64 = 1
    var epochStart = 0
    var checkpoint: Int?
    var blockSize: Int
    var segmentSize: Int
    /// Nil in the first form.
    var place: LogPlace?

    /// That of a log that was just made: each has its own.
    static func firstGeneration(of identity: UInt128) -> UInt64 {
        UInt64(truncatingIfNeeded: identity & (1 << 62 - 1)) + 1
    }

    init(identity: UInt128, geometry: LogGeometry) {
        self.identity = identity
        blockSize = geometry.blockSize
        segmentSize = geometry.segmentSize
    }

    init?(_ bytes: UnsafeRawBufferPointer) {
        guard let form = Self.form(of: bytes), form <= Self.form,
            let epochStart = LogGeometry.position(bytes.littleEndian(at: 48, as: UInt64.self))
        else { return nil }
        identity = bytes.littleEndian(at: 16, as: UInt128.self)
        generation = bytes.littleEndian(at: 32, as: UInt64.self)
        epoch = bytes.littleEndian(at: 40, as: UInt64.self)
        // Each epoch is the generation of the superblock that began it.
        guard epoch <= generation, generation < Self.largestGeneration else { return nil }
        self.epochStart = epochStart
        let checkpoint = bytes.littleEndian(at: 56, as: UInt64.self)
        if checkpoint != Self.noCheckpoint {
            guard let position = LogGeometry.position(checkpoint) else { return nil }
            self.checkpoint = position
        }
        blockSize = Int(bytes.littleEndian(at: 64, as: UInt32.self))
        let (size, overflow) = blockSize.multipliedReportingOverflow(
            by: Int(bytes.littleEndian(at: 68, as: UInt32.self)))
        guard !overflow else { return nil }
        segmentSize = size
        guard form > 1 else { return }
        guard let layout = LogLayout(rawValue: bytes[72]) else { return nil }
        let place = LogPlace(
            layout: layout, index: Int(bytes.littleEndian(at: 74, as: UInt16.self)),
            count: Int(bytes.littleEndian(at: 76, as: UInt16.self)),
            headerSize: Int(bytes.littleEndian(at: 78, as: UInt16.self)) * Self.headerUnit)
        guard place.index < place.count, (place.count == 1) == (layout == .single) else { return nil }
        self.place = place
    }

    /// The form in which `bytes` hold a whole superblock, of whatever contents; nil when they do not. It may be newer
    /// than what this program knows.
    static func form(of bytes: UnsafeRawBufferPointer) -> Int? {
        guard bytes.count >= 72, bytes.starts(with: prefix), case UInt8(ascii: "1")...UInt8(ascii: "9") = bytes[7]
        else { return nil }
        let form = Int(bytes[7] - UInt8(ascii: "0"))
        let start = form == 1 ? 16 : 12
        let size = form == 1 ? sizes[1] : Int(bytes.littleEndian(at: 12, as: UInt32.self))
        guard let size, (72...bytes.count).contains(size), sizes[form].map({ $0 == size }) ?? (form > Self.form),
            bytes.littleEndian(at: 8, as: UInt32.self)
                == CRC32C.checksum(UnsafeRawBufferPointer(rebasing: bytes[start..<size]))
        else { return nil }
        return form
    }

    func write(to bytes: UnsafeMutableRawBufferPointer) {
        let form = place == nil ? 1 : Self.form
        bytes.copyBytes(from: Self.prefix + [UInt8(ascii: "0") + UInt8(form)])
        bytes.setLittleEndian(identity, at: 16)
        bytes.setLittleEndian(generation, at: 32)
        bytes.setLittleEndian(epoch, at: 40)
        bytes.setLittleEndian(UInt64(epochStart), at: 48)
        bytes.setLittleEndian(checkpoint.map(UInt64.init) ?? Self.noCheckpoint, at: 56)
        bytes.setLittleEndian(UInt32(blockSize), at: 64)
        bytes.setLittleEndian(UInt32(segmentSize / blockSize), at: 68)
        let size = Self.sizes[form] ?? 0
        if let place {
            bytes.setLittleEndian(UInt32(size), at: 12)
            bytes[72] = place.layout.rawValue
            bytes.setLittleEndian(UInt16(place.index), at: 74)
            bytes.setLittleEndian(UInt16(place.count), at: 76)
            bytes.setLittleEndian(UInt16(place.headerSize / Self.headerUnit), at: 78)
        }
        let checked = UnsafeRawBufferPointer(rebasing: bytes[(form == 1 ? 16 : 12)..<size])
        bytes.setLittleEndian(CRC32C.checksum(checked), at: 8)
    }
}

/// The two copies of the superblock on one device.
struct SuperblockCopies {
    /// Where they were looked for; a copy that is damaged is nil.
    private(set) var copies: [(offset: Int, superblock: LogSuperblock?)] = []

    /// Reads both.
    ///
    /// - Throws: when the device cannot be read, or one is in a form that this program does not know.
    init(of device: any BlockDevice) throws(StorageError) {
        var found = [(offset: 0, bytes: try Self.read(device, 0))]
        // The second stands one block after the first, and only a superblock tells how large a block is.
        if let first = Self.superblock(found[0].bytes) {
            found.append((first.blockSize, try Self.read(device, first.blockSize)))
        } else {
            var offset = 512
            while offset <= LogGeometry.defaultBlockSize {
                let bytes = try Self.read(device, offset)
                if Self.superblock(bytes)?.blockSize == offset || Self.newerForm(bytes) != nil {
                    found.append((offset, bytes))
                }
                offset *= 2
            }
        }
        for (offset, bytes) in found {
            // A newer form has another generation than what was there before: a copy that differs in its form alone is
            // damaged there.
            let isDamaged = found.contains {
                Self.superblock($0.bytes) != nil && $0.bytes.dropFirst(8) == bytes.dropFirst(8)
            }
            if let form = Self.newerForm(bytes), !isDamaged {
                throw StorageError(
                    .damaged,
                    operation: """
                        open a redirect log of form \(form) (this program knows forms 1 to \(LogSuperblock.form): start \
                        the newer introspectd that wrote it)
                        """, device: device.name, range: ByteRange(offset: offset, length: 512))
            }
            copies.append((offset, Self.superblock(bytes)))
        }
    }

    /// The one that counts; nil when there is none: not a log.
    var newest: LogSuperblock? { copies.compactMap(\.superblock).max { $0.generation < $1.generation } }

    /// Whether both have the same generation: what it says has been gone by.
    var areEqual: Bool {
        let generations = copies.map { $0.superblock?.generation }
        return generations.count == 2 && generations[0] != nil && generations[0] == generations[1]
    }

    /// Where a copy is damaged, in bytes.
    var damage: Int? { newest == nil ? nil : copies.first { $0.superblock == nil }?.offset }

    /// Nothing when the device ends before.
    private static func read(_ device: any BlockDevice, _ offset: Int) throws(StorageError) -> [UInt8] {
        guard offset + 512 <= device.size else { return [] }
        return try device.read(ByteRange(offset: offset, length: 512))
    }

    private static func superblock(_ bytes: [UInt8]) -> LogSuperblock? {
        bytes.withUnsafeBytes { LogSuperblock($0) }
    }

    private static func newerForm(_ bytes: [UInt8]) -> Int? {
        bytes.withUnsafeBytes { LogSuperblock.form(of: $0) }.flatMap { $0 > LogSuperblock.form ? $0 : nil }
    }
}
