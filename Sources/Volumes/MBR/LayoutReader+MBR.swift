import BlockStorage

extension LayoutReader {
    /// How many logical partitions and extended boot records are read; Linux stops at 255 partitions.
    private static var maximumLogicalPartitions: Int { 251 }

    /// Adds what the boot record at the start of the disk lists, apart from a protective entry.
    ///
    /// The table itself does not say which sectors it counts in, and no image format that we read does.
    mutating func readPartitions(of record: BootRecord) throws(StorageError) {
        addStructure(ByteRange(offset: 0, length: BootRecord.length), .partitionTable)
        var nextIndex = 5
        var visited: Set<Int> = [0]
        for (slot, entry) in record.entries.enumerated() where entry.isUsed && !entry.isProtective {
            let entryOffset = BootRecord.entriesOffset + slot * BootRecord.entryLength
            let range = ByteRange(offset: entry.firstSector * sectorSize, length: entry.sectorCount * sectorSize)
            addPartition(
                Partition(index: slot + 1, range: range, type: entry.typeName, isContainer: entry.isExtended),
                entryOffset: entryOffset)
            if entry.isExtended {
                try readLogicalPartitions(in: range, nextIndex: &nextIndex, visited: &visited)
            }
        }
    }

    /// The sectors that `record` counts in: of 512 bytes, unless nothing known begins where these put its partitions, and
    /// something does where sectors of 4,096 bytes put them.
    mutating func likelySectorSize(of record: BootRecord) throws(StorageError) -> Int {
        let used = record.entries.filter { $0.isUsed && !$0.isProtective }
        for sectorSize in [512, 4096] {
            for entry in used {
                let offset = entry.firstSector * sectorSize
                guard try holdsSomethingKnown(at: offset, isExtended: entry.isExtended) else { continue }
                if sectorSize != 512 {
                    report(0, "the master boot record counts in sectors of \(sectorSize) bytes, by what begins there")
                }
                return sectorSize
            }
        }
        return 512
    }

    /// Whether an extended boot record, a physical volume or one of the usual file systems begins at `offset`.
    private func holdsSomethingKnown(at offset: Int, isExtended: Bool) throws(StorageError) -> Bool {
        guard offset > 0, offset < size,
            let start = try read(ByteRange(offset: offset, length: min(4096, size - offset))), start.count >= 2048
        else { return false }
        if isExtended { return BootRecord(parsing: start) != nil }
        return start[1080] == 0x53 && start[1081] == 0xef || start.hasASCII("XFSB", at: 0)
            || start.hasASCII("NTFS    ", at: 3) || start.hasASCII("EXFAT   ", at: 3) || start.hasASCII("FAT", at: 54)
            || start.hasASCII("FAT32", at: 82) || (0..<4).contains { start.hasASCII("LABELONE", at: 512 * $0) }
    }

    /// Follows the chain of extended boot records in `container`.
    ///
    /// `visited` holds the offsets of all records read so far: a chain that comes back to one of them ends there.
    private mutating func readLogicalPartitions(
        in container: ByteRange, nextIndex: inout Int, visited: inout Set<Int>
    ) throws(StorageError) {
        var recordOffset: Int? = container.offset
        while let offset = recordOffset {
            recordOffset = nil
            guard visited.insert(offset).inserted else {
                report(offset, "the chain of extended boot records returns to this one; expected an end of the chain")
                return
            }
            guard visited.count <= Self.maximumLogicalPartitions else {
                report(offset, "more than \(Self.maximumLogicalPartitions) extended boot records; the rest is left out")
                return
            }
            guard let sector = try read(ByteRange(offset: offset, length: BootRecord.length)) else {
                report(offset, "an extended boot record is expected here, but the disk ends at \(size)")
                return
            }
            guard let record = BootRecord(parsing: sector) else {
                report(offset, "no extended boot record: expected four partition entries and the signature 55 aa")
                return
            }
            addStructure(ByteRange(offset: offset, length: BootRecord.length), .partitionTable)
            recordOffset = addLogicalPartitions(of: record, at: offset, in: container, nextIndex: &nextIndex)
        }
    }

    /// Adds what an extended boot record lists; returns where the next one is.
    private mutating func addLogicalPartitions(
        of record: BootRecord, at offset: Int, in container: ByteRange, nextIndex: inout Int
    ) -> Int? {
        var next: Int?
        for (slot, entry) in record.entries.enumerated() where entry.isUsed {
            let entryOffset = offset + BootRecord.entriesOffset + slot * BootRecord.entryLength
            // Links count from the start of the extended partition, partitions from their own record.
            let base = entry.isExtended ? container.offset : offset
            let range = ByteRange(offset: base + entry.firstSector * sectorSize, length: entry.sectorCount * sectorSize)
            if entry.isExtended {
                guard next == nil else { continue }
                guard range.offset < container.end else {
                    report(
                        entryOffset,
                        "the next extended boot record is said to be at \(range.offset), expected inside the extended"
                            + " partition \(container)")
                    continue
                }
                next = range.offset
            } else if slot >= 2, !container.contains(range) {
                // Linux ignores such entries too: old tools left rubbish in the last two.
                continue
            } else {
                addPartition(Partition(index: nextIndex, range: range, type: entry.typeName), entryOffset: entryOffset)
                nextIndex += 1
            }
        }
        return next
    }
}
