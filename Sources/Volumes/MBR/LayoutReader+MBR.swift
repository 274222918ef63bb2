import BlockStorage

extension LayoutReader {
    /// How many logical partitions and extended boot records are read; Linux stops at 255 partitions.
    private static var maximumLogicalPartitions: Int { 251 }

    /// Adds what the boot record at the start of the disk lists, apart from a protective entry.
    ///
    /// Sectors have 512 bytes: the table itself does not say, and no image format that we read does.
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
