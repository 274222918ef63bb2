import BlockStorage
import GuestFilesystems

/// Looks for the superblock of an ext file system on a volume, and says what is wrong when there should be one.
struct SuperblockProbe {
    /// Reads the volume.
    let reader: VolumeReader
    /// The disk's name in reports.
    let name: String
    /// What a file system may have at most.
    let options: ScanOptions

    /// Bytes at the start of a volume where a file system or another label may be.
    private static let labelArea = ByteRange(offset: 0, length: 1 << 20)
    /// Where in a volume the first backup of a superblock is: group 1's, with each of the usual block sizes.
    private static let backupOffsets = [8193 * 1024, 16384 * 2048, 32768 * 4096]

    /// Whether it goes by bytes of `range` of the volume.
    static func goesBy(_ range: ByteRange) -> Bool {
        range.overlaps(labelArea)
            || backupOffsets.contains { range.overlaps(ByteRange(offset: $0, length: ExtSuperblock.size)) }
    }

    /// The superblock of a file system that can be scanned; nil when there is none, with a problem when it seems that
    /// there was one, or when it is not supported.
    func superblock(_ problems: inout [String]) -> ExtSuperblock? {
        guard reader.size >= ExtSuperblock.offset + ExtSuperblock.size else { return nil }
        let bytes: [UInt8]
        do throws(StorageError) {
            bytes = try read(at: ExtSuperblock.offset)
        } catch {
            problems.append("\(place): the superblock cannot be read: \(error)")
            return nil
        }
        if let journal = ExtSuperblock.externalJournal(in: bytes.span.bytes) {
            problems.append("\(place): the journal \(journal) of another file system")
            return nil
        }
        do throws(ExtFormatError) {
            let superblock = try ExtSuperblock(parsing: bytes.span.bytes)
            let unsupported = superblock.unsupportedFeatures
            guard unsupported.isEmpty else {
                problems.append(
                    "\(place): \(superblock.kind) with features that are not supported: \(unsupported.joined(separator: ", "))"
                )
                return nil
            }
            try superblock.check(deviceSize: reader.size)
            guard superblock.groupCount <= options.groupLimit, superblock.blockCount <= options.blockLimit else {
                problems.append(
                    """
                    \(place): \(superblock.blockCount) blocks in \(superblock.groupCount) groups, at most \
                    \(options.blockLimit) in \(options.groupLimit) are supported
                    """)
                return nil
            }
            if !superblock.hasValidChecksum(bytes.span.bytes) {
                problems.append("\(place): the checksum of the superblock is wrong")
            }
            return superblock
        } catch {
            let backup = backupOffset.map { "; there is a backup at offset \(diskOffset($0))" }
            guard error.code != .badMagic || backup != nil && !holdsSomethingElse else { return nil }
            problems.append("\(place): \(error)\(backup ?? "")")
            return nil
        }
    }

    private var place: String {
        "\(name): \(reader.volume.name): offset \(diskOffset(ExtSuperblock.offset))"
    }

    /// Where on the disk a byte of the volume is.
    private func diskOffset(_ offset: Int) -> Int {
        var result = offset
        reader.volume.map.forEachDiskRange(of: ByteRange(offset: offset, length: 1)) { range, _ in
            result = range.offset
        }
        return result
    }

    private func read(at offset: Int) throws(StorageError) -> [UInt8] {
        let buffer = AlignedBuffer(count: ExtSuperblock.size)
        try reader.read(ByteRange(offset: offset, length: buffer.count), as: .superblock, into: buffer.bytes)
        return Array(buffer.bytes)
    }

    /// Where in the volume the first backup is that could be read.
    private var backupOffset: Int? {
        Self.backupOffsets.first { offset in
            guard offset <= reader.size - ExtSuperblock.size, let bytes = try? read(at: offset),
                let backup = try? ExtSuperblock(parsing: bytes.span.bytes)
            else { return false }
            return backup.ownGroup == 1
                && offset / backup.blockSize == Int(backup.blocksPerGroup + backup.firstDataBlock)
        }
    }

    /// Whether the volume starts as other things do: then the backup is left over from an earlier file system.
    private var holdsSomethingElse: Bool {
        let signatures: [(offset: Int, text: String)] = [
            (0, "XFSB"), (0, "LUKS"), (3, "NTFS    "), (3, "EXFAT   "), (54, "FAT"), (82, "FAT32"),
            (4086, "SWAPSPACE2"),
            (0x1_0040, "_BHRfS_M"), (0x8001, "CD001"), (512, "LABELONE"),
        ]
        return signatures.contains { offset, text in
            let bytes = Array(text.utf8)
            guard offset <= reader.size - bytes.count else { return false }
            let buffer = AlignedBuffer(count: bytes.count)
            let range = ByteRange(offset: offset, length: bytes.count)
            guard (try? reader.read(range, as: .unknown, into: buffer.bytes)) != nil else { return false }
            return Array(buffer.bytes) == bytes
        }
    }
}
