import BlockStorage

/// The header of a record, 128 bytes, little-endian, followed by the payload and zeros up to a multiple of 8:
///
///       0  magic "IRL1"                    40  offset of the payload in the image
///       4  CRC-32C of bytes 8 ..< 128      48  length of the payload
///       8  CRC-32C of the payload          52  zero
///      12  kind, priority,                 56  horizon of a settlement
///          length of the identity, zero    64  identity of the image, 64 bytes
///      16  epoch
///      24  position of the record
///      32  end of the last record of the commit before its own
struct LogRecord {
    enum Kind: UInt8 {
        /// Bytes of an image.
        case write = 1
        /// Ranges whose redirects from before the horizon are in the image, synced. Payload: offset and length, 8
        /// bytes each, a range.
        case settlement = 2
        /// Live redirects of one image at a checkpoint. Payload: offset, length and position, 8 bytes each.
        case checkpoint = 3
        /// The end of a checkpoint.
        case checkpointEnd = 4
        /// Bytes of an image that stood in the record at the position that is the horizon, as far as they are live there:
        /// they are here now, so that the space of that one can be used again.
        case relocation = 5
    }

    static let headerSize = 128
    /// The horizon of a settlement of everything that stands before it.
    static let ownPosition = -1
    private static let magic: UInt32 = 0x314C_5249

    var kind: Kind
    var priority: UInt8 = 0
    var image: ImageIdentity?
    var offset = 0
    var length = 0
    var horizon = 0
    var payloadChecksum: UInt32 = 0
    var epoch: UInt64 = 0
    var position = 0
    /// The position at which the last record before this one's commit ends.
    var precedingEnd = 0

    init(_ kind: Kind, image: ImageIdentity?) {
        self.kind = kind
        self.image = image
    }

    /// The bytes from one record to the next in a commit.
    var size: Int { Self.size(payload: length) }

    static func size(payload: Int) -> Int { (headerSize + payload + 7) & ~7 }

    /// Where the payload belongs in the image.
    var range: ByteRange { ByteRange(offset: offset, length: length) }

    /// Parses a header; nil when its checksum or contents are wrong.
    init?(_ header: UnsafeRawBufferPointer) {
        guard header.count >= Self.headerSize, header.littleEndian(at: 0, as: UInt32.self) == Self.magic,
            header.littleEndian(at: 4, as: UInt32.self)
                == CRC32C.checksum(UnsafeRawBufferPointer(rebasing: header[8..<Self.headerSize])),
            let kind = Kind(rawValue: header[12]),
            let position = LogGeometry.position(header.littleEndian(at: 24, as: UInt64.self)),
            let precedingEnd = LogGeometry.position(header.littleEndian(at: 32, as: UInt64.self)),
            let horizon = LogGeometry.position(header.littleEndian(at: 56, as: UInt64.self)),
            let range = ByteRange(
                checkedOffset: header.littleEndian(at: 40, as: UInt64.self),
                length: UInt64(header.littleEndian(at: 48, as: UInt32.self)))
        else { return nil }
        self.kind = kind
        priority = header[13]
        image = ImageIdentity(header[64..<64 + min(Int(header[14]), ImageIdentity.maximumCount)])
        offset = range.offset
        length = range.length
        self.horizon = horizon
        payloadChecksum = header.littleEndian(at: 8, as: UInt32.self)
        epoch = header.littleEndian(at: 16, as: UInt64.self)
        self.position = position
        self.precedingEnd = precedingEnd
    }

    /// Writes the header to the first 128 bytes of `header`.
    func write(to header: UnsafeMutableRawBufferPointer) {
        let identity = image?.bytes ?? []
        header.setLittleEndian(Self.magic, at: 0)
        header.setLittleEndian(payloadChecksum, at: 8)
        header[12] = kind.rawValue
        header[13] = priority
        header[14] = UInt8(identity.count)
        header.setLittleEndian(epoch, at: 16)
        header.setLittleEndian(UInt64(position), at: 24)
        header.setLittleEndian(UInt64(precedingEnd), at: 32)
        header.setLittleEndian(UInt64(offset), at: 40)
        header.setLittleEndian(UInt32(length), at: 48)
        header.setLittleEndian(UInt64(horizon), at: 56)
        UnsafeMutableRawBufferPointer(rebasing: header[64..<64 + identity.count]).copyBytes(from: identity)
        let checked = UnsafeRawBufferPointer(rebasing: header[8..<Self.headerSize])
        header.setLittleEndian(CRC32C.checksum(checked), at: 4)
    }
}
