import BlockStorage

/// What an inode tells people: owner and time. Classification needs none of it.
///
/// Source: `Documentation/filesystems/ext4/inodes.rst`.
public struct ExtInodeAttributes: Hashable, Sendable {
    /// The owner, both halves.
    public let user: UInt32
    /// The group, both halves.
    public let group: UInt32
    /// When the contents changed last, in seconds since 1970.
    public let modificationTime: Int64

    /// The attributes of the inode that fills `bytes`, of which there must be at least 128.
    public init(parsing bytes: RawSpan) throws(ExtFormatError) {
        guard bytes.byteCount >= ExtInode.coreSize else {
            throw ExtFormatError(
                .tooShort, "inode", field: "", offset: 0, found: UInt64(bytes.byteCount),
                expected: "\(ExtInode.coreSize)")
        }
        user = UInt32(bytes.uint16(at: 2)) | UInt32(bytes.uint16(at: 120)) << 16
        group = UInt32(bytes.uint16(at: 24)) | UInt32(bytes.uint16(at: 122)) << 16
        // Two bits of i_mtime_extra carry the count on after 2038.
        let seconds = Int64(Int32(bitPattern: bytes.uint32(at: 16)))
        let extraOffset = 136
        let hasExtra =
            bytes.byteCount >= extraOffset + 4
            && ExtInode.coreSize + Int(bytes.uint16(at: ExtInode.coreSize)) >= extraOffset + 4
        modificationTime = seconds + (hasExtra ? Int64(bytes.uint32(at: extraOffset) & 3) << 32 : 0)
    }
}
