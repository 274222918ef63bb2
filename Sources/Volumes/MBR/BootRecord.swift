import BlockStorage

/// A master or extended boot record: four partition entries at byte 446 and the signature 55 AA.
struct BootRecord {
    /// One of the four entries.
    struct Entry {
        /// The partition's type; 0 when the entry is not used.
        let type: UInt8
        /// The first sector, counted from what the record's place in the chain says.
        let firstSector: Int
        /// The number of sectors.
        let sectorCount: Int

        /// Whether the entry describes anything.
        var isUsed: Bool { type != 0 && sectorCount > 0 }
        /// Whether the entry holds other partitions: the three types that Linux takes for extended.
        var isExtended: Bool { [0x05, 0x0f, 0x85].contains(type) }
        /// Whether the entry says that a GPT rules the disk (UEFI 5.2.3), as Linux has it: whatever length it gives.
        var isProtective: Bool { type == 0xee }
        /// The type as `sfdisk` writes it.
        var typeName: String { String(type, radix: 16) }
    }

    /// The size of the record, in bytes.
    static let length = 512
    /// Where the first entry is, in the record.
    static let entriesOffset = 446
    /// The size of an entry.
    static let entryLength = 16

    /// All four entries, used or not.
    let entries: [Entry]

    /// Reads the record in the first 512 bytes of `sector`, or returns nil when they hold none.
    ///
    /// As Linux has it, an entry whose status is neither 0 nor 80 means that this is some other kind of boot sector.
    init?(parsing sector: [UInt8]) {
        guard sector.count >= Self.length, sector[510] == 0x55, sector[511] == 0xaa else { return nil }
        let offsets = (0..<4).map { Self.entriesOffset + $0 * Self.entryLength }
        guard offsets.allSatisfy({ sector[$0] & 0x7f == 0 }) else { return nil }
        entries = offsets.map { offset in
            Entry(
                type: sector[offset + 4],
                firstSector: Int(sector.littleEndian(UInt32.self, at: offset + 8)),
                sectorCount: Int(sector.littleEndian(UInt32.self, at: offset + 12)))
        }
        let isEmpty = !entries.contains { $0.isUsed || $0.isProtective }
        if isEmpty, Self.isFileSystemBootSector(sector) { return nil }
    }

    /// Whether the sector is the first of a FAT, exFAT or NTFS file system, which carries the same signature.
    private static func isFileSystemBootSector(_ sector: [UInt8]) -> Bool {
        guard sector[0] == 0xeb || sector[0] == 0xe9 else { return false }
        if sector.hasASCII("NTFS    ", at: 3) || sector.hasASCII("EXFAT   ", at: 3) { return true }
        let bytesPerSector = sector.littleEndian(UInt16.self, at: 11)
        let sectorsPerCluster = sector[13]
        let media = sector[21]
        return [512, 1024, 2048, 4096].contains(bytesPerSector)
            && sectorsPerCluster.nonzeroBitCount == 1 && (media == 0xf0 || media >= 0xf8)
    }
}
