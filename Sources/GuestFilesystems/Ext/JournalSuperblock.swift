import BlockStorage

/// The superblock of a JBD2 journal: the first block of the journal's inode, or of a device that is a journal.
///
/// It is written anew whenever the log's tail moves, and the first mount adds features that change the size of tags:
/// what was parsed holds only until the next write of it. All numbers of a journal are big-endian.
/// Source: `Documentation/filesystems/ext4/journal.rst` of Linux, `kernel-jbd.h` of e2fsprogs.
public struct JournalSuperblock: Hashable, Sendable {
    /// Features that a reader must know (`s_feature_incompat`).
    public struct Features: OptionSet, Hashable, Sendable {
        /// The field as it is on disk.
        public let rawValue: UInt32

        /// The features of a raw `s_feature_incompat`.
        public init(rawValue: UInt32) { self.rawValue = rawValue }

        /// There are revoke blocks.
        public static let revoke = Self(rawValue: 0x1)
        /// Block numbers have 64 bits.
        public static let is64Bit = Self(rawValue: 0x2)
        /// A commit block may be written before what it commits.
        public static let asynchronousCommit = Self(rawValue: 0x4)
        /// Metadata has checksums, those in tags have 16 bits.
        public static let checksumV2 = Self(rawValue: 0x8)
        /// Metadata has checksums, those in tags have 32 bits.
        public static let checksumV3 = Self(rawValue: 0x10)
        /// The end of the journal is an area for fast commits.
        public static let fastCommit = Self(rawValue: 0x20)

        static let all: Self = [.revoke, .is64Bit, .asynchronousCommit, .checksumV2, .checksumV3, .fastCommit]
    }

    /// Its size in bytes.
    public static let size = 1024
    /// Fast-commit blocks where `s_num_fc_blks` is 0.
    static let defaultFastCommitBlocks: UInt32 = 256

    /// Bytes in a block.
    public let blockSize: Int
    /// Blocks of the journal, this one and the fast-commit area included.
    public let length: UInt32
    /// The first block of the log, which follows this one.
    public let firstBlock: UInt32
    /// The sequence number of the first transaction that recovery would need.
    public let sequence: UInt32
    /// The block where that transaction begins; 0 when the journal is empty.
    public let start: UInt32
    /// Whether each transaction has one checksum, in its commit block (`s_feature_compat`, version 1).
    public let hasTransactionChecksums: Bool
    /// Features.
    public let features: Features
    /// The UUID's 16 bytes: the file system's own for a journal within it.
    public let uuidBytes: [UInt8]
    /// Blocks of the fast-commit area; 0 without one.
    public let fastCommitBlocks: UInt32
    /// The value that the checksums of versions 2 and 3 start with.
    public let checksumSeed: UInt32
    /// Whether the checksum of this superblock is right, or there is none.
    public let isIntact: Bool

    /// Parses and checks the 1,024 bytes of a journal's superblock.
    public init(parsing bytes: RawSpan) throws(ExtFormatError) {
        guard bytes.byteCount >= Self.size else {
            throw ExtFormatError(
                .tooShort, "journal superblock", field: "", offset: 0, found: UInt64(bytes.byteCount), expected: "1024")
        }
        let header = JournalBlockHeader(bytes)
        guard let header, header.kind == .superblockV1 || header.kind == .superblockV2 else {
            throw ExtFormatError(
                .badMagic, "journal superblock", field: "h_magic", offset: 0,
                found: UInt64(bytes.bigEndian(at: 0, as: UInt32.self)), expected: "0xc03b3998 and type 3 or 4")
        }
        let isDynamic = header.kind == .superblockV2
        blockSize = Int(bytes.bigEndian(at: 12, as: UInt32.self))
        length = bytes.bigEndian(at: 16, as: UInt32.self)
        firstBlock = bytes.bigEndian(at: 20, as: UInt32.self)
        sequence = bytes.bigEndian(at: 24, as: UInt32.self)
        start = bytes.bigEndian(at: 28, as: UInt32.self)
        hasTransactionChecksums = isDynamic && bytes.bigEndian(at: 36, as: UInt32.self) & 1 != 0
        features = Features(rawValue: isDynamic ? bytes.bigEndian(at: 40, as: UInt32.self) : 0)
        uuidBytes = bytes.bytes(in: 48..<64)
        let fastCommitCount = bytes.bigEndian(at: 84, as: UInt32.self)
        fastCommitBlocks =
            features.contains(.fastCommit)
            ? (fastCommitCount == 0 ? Self.defaultFastCommitBlocks : fastCommitCount) : 0
        checksumSeed = ExtChecksum.crc32c(bytes.extracting(48..<64), seed: ~0)
        isIntact = !features.hasBlockChecksums || Self.checksum(of: bytes) == bytes.bigEndian(at: 252, as: UInt32.self)
        try check()
    }

    /// Whether block `block` of the journal belongs to the fast-commit area.
    public func isFastCommit(_ block: UInt32) -> Bool { block >= logEnd && block < length }

    /// The first block after the log, where it wraps to ``firstBlock``.
    public var logEnd: UInt32 { length - fastCommitBlocks }

    /// Bytes of a tag, its UUID excepted.
    public var tagSize: Int {
        if features.contains(.checksumV3) { return 16 }
        return 8 + (features.contains(.checksumV2) ? 2 : 0) + (features.contains(.is64Bit) ? 4 : 0)
    }

    /// Bytes at the end of descriptor and revoke blocks that hold a checksum.
    var tailSize: Int { features.hasBlockChecksums ? 4 : 0 }

    /// The UUID as 32 digits in the usual groups.
    public var uuid: String { uuidText(uuidBytes) }

    private func check() throws(ExtFormatError) {
        func refuse(_ field: String, _ offset: Int, _ found: UInt32, _ expected: String) -> ExtFormatError {
            ExtFormatError(
                .badValue, "journal superblock", field: field, offset: offset, found: UInt64(found), expected: expected)
        }
        guard blockSize >= 1024, blockSize <= 65536, blockSize.nonzeroBitCount == 1 else {
            throw refuse("s_blocksize", 12, UInt32(truncatingIfNeeded: blockSize), "a power of two from 1024 to 65536")
        }
        let unknown = features.subtracting(.all)
        guard unknown.isEmpty, !features.isSuperset(of: [.checksumV2, .checksumV3]) else {
            throw refuse("s_feature_incompat", 40, features.rawValue, "known features, one kind of checksums at most")
        }
        guard fastCommitBlocks < length else {
            throw refuse("s_num_fc_blks", 84, fastCommitBlocks, "less than s_maxlen (\(length))")
        }
        guard firstBlock > 0, firstBlock < logEnd else {
            throw refuse("s_first", 20, firstBlock, "from 1 to less than \(logEnd)")
        }
        guard start == 0 || start >= firstBlock && start < logEnd else {
            throw refuse("s_start", 28, start, "0, or from \(firstBlock) to less than \(logEnd)")
        }
    }

    /// The checksum of the superblock with its own field taken as zero.
    private static func checksum(of bytes: RawSpan) -> UInt32 {
        let head = ExtChecksum.crc32c(bytes.extracting(0..<252), seed: ~0)
        return ExtChecksum.crc32c(bytes.extracting(256..<size), seed: ExtChecksum.crc32c(UInt32(0), seed: head))
    }
}

extension JournalSuperblock.Features {
    /// Whether descriptor, revoke and commit blocks carry a checksum each.
    var hasBlockChecksums: Bool { contains(.checksumV2) || contains(.checksumV3) }
}

/// 16 bytes as a UUID in its usual notation.
func uuidText(_ bytes: [UInt8]) -> String {
    let digits = bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }
    return [0..<4, 4..<6, 6..<8, 8..<10, 10..<16].map { digits[$0].joined() }.joined(separator: "-")
}
