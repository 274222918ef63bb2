import BlockStorage

extension LayoutReader {
    /// A header and its entries, both with the right checksum.
    private struct Table {
        let header: GPTHeader
        let sectorNumber: Int
        let sectorSize: Int
        let entries: [GPTEntry]
    }

    /// Adds the partitions of the GPT; returns false, with the reasons reported, when neither copy is whole.
    mutating func readGUIDPartitionTable() throws(StorageError) -> Bool {
        var foundHeader = false
        for isBackup in [false, true] {
            for sectorSize in [512, 4096] {
                let number = isBackup ? size / sectorSize - 1 : 1
                switch try readTable(sector: number, sectorSize: sectorSize) {
                case .success(let table)?:
                    try adopt(table, isBackup: isBackup)
                    return true
                case .failure(let problem)?:
                    report(problem)
                    foundHeader = true
                case nil:
                    continue
                }
            }
        }
        if !foundHeader {
            report(512, "no GPT header, although the master boot record says that a GPT rules this disk")
        }
        return false
    }

    /// The table whose header is in a sector, what is wrong with it, or nil when there is none.
    private func readTable(
        sector number: Int, sectorSize: Int
    ) throws(StorageError) -> Result<Table, VolumeProblem>? {
        guard number > 0,
            let sector = try read(ByteRange(offset: number * sectorSize, length: sectorSize)),
            GPTHeader.hasSignature(sector)
        else { return nil }
        let header: GPTHeader
        do throws(VolumeProblem) {
            header = try GPTHeader(parsing: sector, number: number, diskSize: size)
        } catch {
            return .failure(error)
        }
        guard let entries = try read(header.entriesRange) else { return nil }
        let checksum = CRC32.checksum(entries[...])
        guard checksum == header.entriesChecksum else {
            return .failure(
                VolumeProblem(
                    offset: header.entriesRange.offset,
                    message: "GPT entries have checksum \(checksum.hexadecimal), expected"
                        + " \(header.entriesChecksum.hexadecimal) as the header at \(number * sectorSize) says"))
        }
        return .success(
            Table(
                header: header, sectorNumber: number, sectorSize: sectorSize,
                entries: GPTEntry.parse(table: entries, entryLength: header.entryLength)))
    }

    /// Takes `table` for the disk's, and looks at the other copy.
    private mutating func adopt(_ table: Table, isBackup: Bool) throws(StorageError) {
        sectorSize = table.sectorSize
        addStructure(ByteRange(offset: 0, length: BootRecord.length), .partitionTable)
        addStructures(of: table)
        for entry in table.entries {
            addPartition(entry, of: table)
        }
        if isBackup {
            report(
                sectorSize, "the primary GPT is not usable; the backup at \(table.sectorNumber * sectorSize) is used")
            // Whoever repairs the table writes the primary where it belongs.
            addStructure(ByteRange(offset: sectorSize, length: sectorSize), .partitionTable)
        } else {
            try addBackup(of: table)
        }
    }

    private mutating func addBackup(of table: Table) throws(StorageError) {
        let lastSector = size / sectorSize - 1
        let alternate = table.header.alternateSector
        if alternate != UInt64(lastSector) {
            report(sectorSize, "the backup GPT is said to be at sector \(alternate), expected the last, \(lastSector)")
        }
        guard alternate <= UInt64(lastSector) else { return }
        switch try readTable(sector: Int(alternate), sectorSize: sectorSize) {
        case .success(let backup)?:
            addStructures(of: backup)
        case .failure(let problem)?:
            report(problem)
        case nil:
            report(Int(alternate) * sectorSize, "no backup GPT header: the signature EFI PART is missing")
        }
    }

    private mutating func addStructures(of table: Table) {
        addStructure(ByteRange(offset: table.sectorNumber * sectorSize, length: sectorSize), .partitionTable)
        addStructure(table.header.entriesRange, .partitionTable)
    }

    private mutating func addPartition(_ entry: GPTEntry, of table: Table) {
        let entryOffset = table.header.entriesRange.offset + entry.slot * table.header.entryLength
        let index = entry.slot + 1
        let bytes = UInt64(sectorSize)
        let (start, startOverflow) = entry.firstSector.multipliedReportingOverflow(by: bytes)
        guard entry.firstSector <= entry.lastSector, !startOverflow,
            case let (length, lengthOverflow) = (entry.lastSector - entry.firstSector)
                .multipliedReportingOverflow(by: bytes),
            !lengthOverflow, length <= UInt64.max - bytes,
            let range = ByteRange(checkedOffset: start, length: length + bytes)
        else {
            report(
                entryOffset,
                "partition \(index) spans sectors \(entry.firstSector) to \(entry.lastSector), expected a range inside"
                    + " the disk of \(size / sectorSize) sectors; left out")
            return
        }
        addPartition(
            Partition(index: index, range: range, type: entry.type, name: entry.name), entryOffset: entryOffset)
    }
}
