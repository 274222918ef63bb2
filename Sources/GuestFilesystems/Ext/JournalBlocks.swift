import BlockStorage

/// What every block of a journal begins with that is not a copy of a file system's block.
///
/// A copy whose first four bytes are the magic number has them zeroed in the log (``JournalTag/isEscaped``), so that a
/// header is one for sure in a log that was written as it should be.
public struct JournalBlockHeader: Hashable, Sendable {
    /// What follows the header.
    public enum Kind: UInt32, Sendable {
        /// Tags that name the blocks whose copies follow.
        case descriptor = 1
        /// The end of a transaction.
        case commit = 2
        /// The superblock of the first version, without features.
        case superblockV1 = 3
        /// The superblock.
        case superblockV2 = 4
        /// Blocks whose earlier copies must not be replayed.
        case revoke = 5
    }

    /// `h_magic`.
    public static let magic: UInt32 = 0xC03B_3998
    /// Bytes of the header.
    public static let size = 12

    /// What follows.
    public let kind: Kind
    /// The transaction.
    public let sequence: UInt32

    /// The header that `bytes` begin with; nil when they begin with none, or one of an unknown kind.
    public init?(_ bytes: RawSpan) {
        guard bytes.byteCount >= Self.size, bytes.bigEndian(at: 0, as: UInt32.self) == Self.magic,
            let kind = Kind(rawValue: bytes.bigEndian(at: 4, as: UInt32.self))
        else { return nil }
        self.kind = kind
        sequence = bytes.bigEndian(at: 8, as: UInt32.self)
    }
}

/// What a descriptor block says of one block whose copy follows in the log.
public struct JournalTag: Hashable, Sendable {
    /// The block of the file system; it may be any number.
    public let block: UInt64
    /// Whether the copy's first four bytes were the magic number, and are zero in the log.
    public let isEscaped: Bool
    /// The checksum of the copy as it is in the log: its lower 16 bits only with version 2; 0 without checksums.
    public let checksum: UInt32
}

/// A descriptor block: the blocks whose copies follow it, in order.
public struct JournalDescriptorBlock: Hashable, Sendable {
    /// The transaction.
    public let sequence: UInt32
    /// The copies that follow.
    public let tags: [JournalTag]
    /// Whether the block's own checksum is right, or there is none.
    public let isIntact: Bool

    private enum Flag {
        static let escaped: UInt32 = 1
        static let sameUUID: UInt32 = 2
        static let last: UInt32 = 8
    }

    /// Parses the block that fills `bytes` and belongs to the journal with `superblock`.
    public init(parsing bytes: RawSpan, in superblock: JournalSuperblock) throws(ExtFormatError) {
        sequence = try journalSequence(of: bytes, .descriptor, "descriptor block", in: superblock)
        isIntact = superblock.hasValidTail(bytes)
        let hasWideNumbers = superblock.features.contains(.is64Bit)
        let hasWideChecksums = superblock.features.contains(.checksumV3)
        let end = superblock.blockSize - superblock.tailSize
        var tags: [JournalTag] = []
        var offset = JournalBlockHeader.size
        while offset + superblock.tagSize <= end {
            let flags =
                hasWideChecksums
                ? bytes.bigEndian(at: offset + 4, as: UInt32.self)
                : UInt32(bytes.bigEndian(at: offset + 6, as: UInt16.self))
            let high = hasWideNumbers ? UInt64(bytes.bigEndian(at: offset + 8, as: UInt32.self)) << 32 : 0
            let checksum: UInt32 =
                if hasWideChecksums {
                    bytes.bigEndian(at: offset + 12, as: UInt32.self)
                } else {
                    superblock.features.contains(.checksumV2)
                        ? UInt32(bytes.bigEndian(at: offset + 4, as: UInt16.self)) : 0
                }
            tags.append(
                JournalTag(
                    block: high | UInt64(bytes.bigEndian(at: offset, as: UInt32.self)),
                    isEscaped: flags & Flag.escaped != 0,
                    checksum: checksum))
            offset += superblock.tagSize + (flags & Flag.sameUUID != 0 ? 0 : 16)
            if flags & Flag.last != 0 { break }
        }
        self.tags = tags
    }
}

/// A revoke block: copies of its blocks in this and earlier transactions must not be replayed.
public struct JournalRevokeBlock: Hashable, Sendable {
    /// The transaction.
    public let sequence: UInt32
    /// The blocks of the file system; they may be any numbers.
    public let blocks: [UInt64]
    /// Whether the block's own checksum is right, or there is none.
    public let isIntact: Bool

    /// Parses the block that fills `bytes` and belongs to the journal with `superblock`.
    public init(parsing bytes: RawSpan, in superblock: JournalSuperblock) throws(ExtFormatError) {
        sequence = try journalSequence(of: bytes, .revoke, "revoke block", in: superblock)
        isIntact = superblock.hasValidTail(bytes)
        let first = JournalBlockHeader.size + 4
        let end = Int(bytes.bigEndian(at: JournalBlockHeader.size, as: UInt32.self))
        guard end >= first, end <= superblock.blockSize - superblock.tailSize else {
            throw ExtFormatError(
                .badValue, "revoke block", field: "r_count", offset: JournalBlockHeader.size, found: UInt64(end),
                expected: "from \(first) to \(superblock.blockSize - superblock.tailSize)")
        }
        let isWide = superblock.features.contains(.is64Bit)
        let size = isWide ? 8 : 4
        blocks = stride(from: first, through: end - size, by: size).map {
            isWide ? bytes.bigEndian(at: $0, as: UInt64.self) : UInt64(bytes.bigEndian(at: $0, as: UInt32.self))
        }
    }
}

/// A commit block: what was written for its transaction counts from then on.
public struct JournalCommitBlock: Hashable, Sendable {
    /// The transaction.
    public let sequence: UInt32
    /// When it was committed, in seconds since 1970.
    public let time: UInt64
    /// The CRC-32 over all descriptor blocks and copies of the transaction (version 1, see
    /// ``ExtChecksum/crc32(_:seed:)``); nil where there is none.
    public let transactionChecksum: UInt32?
    /// Whether the block's own checksum is right (versions 2 and 3), or there is none.
    public let isIntact: Bool

    /// Parses the block that fills `bytes` and belongs to the journal with `superblock`.
    public init(parsing bytes: RawSpan, in superblock: JournalSuperblock) throws(ExtFormatError) {
        sequence = try journalSequence(of: bytes, .commit, "commit block", in: superblock)
        time = bytes.bigEndian(at: 48, as: UInt64.self)
        let hasOne = superblock.hasTransactionChecksums && bytes.uint8(at: 12) == 1 && bytes.uint8(at: 13) == 4
        transactionChecksum = hasOne ? bytes.bigEndian(at: 16, as: UInt32.self) : nil
        isIntact =
            !superblock.features.hasBlockChecksums
            || superblock.checksum(of: bytes, without: 16) == bytes.bigEndian(at: 16, as: UInt32.self)
    }
}

extension JournalSuperblock {
    /// Whether the copy in `bytes`, as it is in the log, is what the `tag` of transaction `sequence` was made for; true
    /// where tags have no checksums.
    public func isIntact(_ bytes: RawSpan, _ tag: JournalTag, sequence: UInt32) -> Bool {
        guard features.hasBlockChecksums else { return true }
        let checksum = ExtChecksum.crc32c(bytes, seed: ExtChecksum.crc32c(sequence.byteSwapped, seed: checksumSeed))
        return features.contains(.checksumV3) ? checksum == tag.checksum : checksum & 0xFFFF == tag.checksum
    }

    /// Whether the checksum in the last four bytes of a descriptor or revoke block is right, or there is none.
    fileprivate func hasValidTail(_ bytes: RawSpan) -> Bool {
        guard features.hasBlockChecksums else { return true }
        return checksum(of: bytes, without: blockSize - 4) == bytes.bigEndian(at: blockSize - 4, as: UInt32.self)
    }

    /// The checksum of a block with the four bytes at `field` taken as zero.
    fileprivate func checksum(of bytes: RawSpan, without field: Int) -> UInt32 {
        let head = ExtChecksum.crc32c(bytes.extracting(0..<field), seed: checksumSeed)
        let zero = ExtChecksum.crc32c(UInt32(0), seed: head)
        return ExtChecksum.crc32c(bytes.extracting(field + 4..<blockSize), seed: zero)
    }
}

/// The transaction of the block of `kind` that `bytes` are, which is a whole block of the journal.
private func journalSequence(
    of bytes: RawSpan, _ kind: JournalBlockHeader.Kind, _ name: String, in superblock: JournalSuperblock
) throws(ExtFormatError) -> UInt32 {
    guard bytes.byteCount == superblock.blockSize else {
        throw ExtFormatError(
            .tooShort, name, field: "", offset: 0, found: UInt64(bytes.byteCount), expected: "\(superblock.blockSize)")
    }
    guard let header = JournalBlockHeader(bytes), header.kind == kind else {
        throw ExtFormatError(
            .badMagic, name, field: "h_magic", offset: 0, found: UInt64(bytes.bigEndian(at: 0, as: UInt32.self)),
            expected: "0xc03b3998 and type \(kind.rawValue)")
    }
    return header.sequence
}
