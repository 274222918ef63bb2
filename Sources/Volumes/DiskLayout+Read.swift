import BlockStorage

extension DiskLayout {
    /// Reads the partition table and the LVM metadata of `disk`.
    ///
    /// Throws only when the disk cannot be read: what its bytes get wrong is in ``problems``.
    ///
    /// - Parameters:
    ///   - members: Where on `disk` each of several disks is whose volume groups belong together; nil when it is one disk.
    ///   - sectorSize: The sectors that a master boot record counts in, 512 or 4096 bytes; nil to go by what is found where
    ///     its partitions begin. A GPT tells by itself.
    public static func read(
        from disk: some BlockDevice, members: [ByteRange]? = nil, sectorSize: Int? = nil
    ) throws(StorageError) -> DiskLayout {
        var reader = LayoutReader(disk: disk, bootRecordSectorSize: sectorSize)
        try reader.readPartitionTables(of: members ?? [ByteRange(offset: 0, length: disk.size)])
        return try reader.layoutWithVolumes()
    }
}

extension LayoutReader {
    /// Finds out what kind of table the disk has and reads it.
    mutating func readPartitionTable() throws(StorageError) {
        guard let sector = try read(ByteRange(offset: 0, length: BootRecord.length)),
            let record = BootRecord(parsing: sector)
        else {
            // Linux and the firmware go by the protective entry, so a header without one is a relic.
            if let sector = try read(ByteRange(offset: 512, length: 512)), GPTHeader.hasSignature(sector) {
                report(512, "a GPT header, but no protective master boot record at 0: the GPT is not in use")
            }
            return
        }
        let used = record.entries.filter(\.isUsed)
        if record.entries.contains(where: \.isProtective), try readGUIDPartitionTable() {
            partitionTable = used.allSatisfy(\.isProtective) ? .gpt : .hybrid
        } else {
            partitionTable = .mbr
            if let bootRecordSectorSize {
                sectorSize = bootRecordSectorSize
            } else {
                sectorSize = try likelySectorSize(of: record)
            }
            try readPartitions(of: record)
        }
    }

    /// Physical volumes on other disks that are remembered: more than any group reaches over.
    private static var mostMissing: Int { 1024 }

    /// Finds the volumes on the partitions and returns all that was found.
    consuming func layoutWithVolumes() throws(StorageError) -> DiskLayout {
        var plain: [Volume] = []
        var physicalVolumes: [LVMPhysicalVolume] = []
        for place in places {
            if let physicalVolume = try readPhysicalVolume(in: place.range, named: place.name) {
                physicalVolumes.append(physicalVolume)
            } else {
                plain.append(Volume(name: place.name, range: place.range))
            }
        }
        let descriptions = newestDescriptions(of: physicalVolumes)
        let logical = logicalVolumes(of: descriptions, on: physicalVolumes)
        try reportNestedGroups(in: logical)
        let candidates = plain + logical.filter(\.isComplete) + logical.filter { !$0.isComplete }
        let volumes = withoutOverlaps(candidates)
        var found = PhysicalVolumeSet(present: Set(physicalVolumes.map(\.identifier)))
        for physicalVolume in descriptions.flatMap(\.group.physicalVolumes.values)
        where !found.present.contains(physicalVolume.identifier) && found.missing.count < Self.mostMissing {
            found.missing.insert(physicalVolume.identifier)
        }
        return layout(
            volumes: volumes.filter(\.isComplete), degradedVolumes: volumes.filter { !$0.isComplete },
            physicalVolumes: found)
    }

    /// Names logical volumes that hold physical volumes: a guest's own host, usually, and not looked into.
    private mutating func reportNestedGroups(in volumes: [Volume]) throws(StorageError) {
        for volume in volumes where volume.isComplete && volume.size >= LVMLabel.scannedLength {
            let device = VolumeDevice(volume: volume, disk: disk)
            let start = try device.read(ByteRange(offset: 0, length: LVMLabel.scannedLength))
            guard LVMLabel.find(in: start, at: 0, report: { _ in }) != nil else { continue }
            report(
                volume.map.diskRanges.first?.offset ?? 0,
                "\(volume.name): holds an LVM2 physical volume; a group inside a logical volume is not looked into")
        }
    }

    /// The volumes without those that hold bytes of one listed earlier.
    private mutating func withoutOverlaps(_ volumes: [Volume]) -> [Volume] {
        let claims = volumes.indices.flatMap { index in
            volumes[index].map.diskRanges.map { (index: index, range: $0) }
        }
        .sorted { $0.range.offset < $1.range.offset }
        var refused: Set<Int> = []
        var last: (index: Int, range: ByteRange)?
        for claim in claims where !refused.contains(claim.index) {
            guard let other = last, other.range.end > claim.range.offset, other.index != claim.index else {
                last = claim
                continue
            }
            let loser = max(claim.index, other.index)
            report(
                claim.range.offset,
                "\(volumes[claim.index].name) and \(volumes[other.index].name) share bytes, expected none;"
                    + " \(volumes[loser].name) is left out")
            refused.insert(loser)
            if loser == other.index { last = claim }
        }
        return volumes.indices.filter { !refused.contains($0) }.map { volumes[$0] }
    }
}
