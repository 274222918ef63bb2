import BlockStorage

/// One reading of a disk: what was found so far.
struct LayoutReader<Disk: BlockDevice> {
    /// How many problems are told apart before the rest is only counted: a hostile disk can have one a byte.
    private static var maximumProblems: Int { 64 }
    /// How many bytes of LVM2 metadata are read from one disk, whatever number of areas it claims to have.
    private static var maximumMetadataLength: Int { 16 << 20 }

    /// Bytes that may hold a file system or a physical volume, and what reports call them.
    struct Place {
        let name: String
        let range: ByteRange
    }

    let disk: Disk
    /// The disk that is looked at, of several that are read as one: all offsets count from its start.
    private var member: ByteRange
    /// The kind of the first disk's table.
    var partitionTable = PartitionTableKind.none
    var sectorSize = 512
    /// Partitions of all disks, in bytes of the whole.
    private var partitions: [Partition] = []
    private(set) var places: [Place] = []
    private var structures: [DiskStructure] = []
    private var problems: [VolumeProblem] = []
    private var unlistedProblems = 0
    private var metadataBudget = Self.maximumMetadataLength
    /// Names and array elements of LVM2 metadata that may still be read, of all texts together.
    var metadataValues = LVMText.maximumValues

    /// The sectors that master boot records count in, if the caller knows.
    let bootRecordSectorSize: Int?

    init(disk: Disk, bootRecordSectorSize: Int? = nil) {
        self.disk = disk
        self.bootRecordSectorSize = bootRecordSectorSize
        member = ByteRange(offset: 0, length: disk.size)
    }

    /// The size of the disk that is looked at, in bytes.
    var size: Int { member.length }

    /// Reads the partition tables of `members`, the disks that are read as one; afterwards offsets are those of the
    /// whole again.
    mutating func readPartitionTables(of members: [ByteRange]) throws(StorageError) {
        let whole = member
        for (number, member) in members.enumerated() {
            self.member = member
            let disk = number == 0 ? "" : "disk \(number + 1) "
            let (kind, sector, earlier) = (partitionTable, sectorSize, partitions)
            partitions = []
            try readPartitionTable()
            let own = partitions.sorted { $0.index < $1.index }
            let name = disk.isEmpty ? "disk" : String(disk.dropLast())
            places += own.isEmpty ? [Place(name: name, range: member)] : []
            places += own.filter { !$0.isContainer }.map {
                Place(name: "\(disk)partition \($0.index)", range: $0.range)
            }
            partitions = earlier + own
            if number > 0 { (partitionTable, sectorSize) = (kind, sector) }
        }
        member = whole
    }

    /// The bytes of `range`, or nil when the disk ends before they do.
    func read(_ range: ByteRange) throws(StorageError) -> [UInt8]? {
        guard range.end <= size else { return nil }
        return try disk.read(ByteRange(offset: member.offset + range.offset, length: range.length))
    }

    /// Notes that `range`, or what of it is on the disk, is metadata.
    mutating func addStructure(_ range: ByteRange, _ kind: DiskStructure.Kind) {
        guard let inside = range.intersection(ByteRange(offset: 0, length: size)) else { return }
        structures.append(
            DiskStructure(
                range: ByteRange(offset: member.offset + inside.offset, length: inside.length), kind: kind))
    }

    mutating func report(_ problem: VolumeProblem) {
        guard problems.count < Self.maximumProblems else {
            unlistedProblems += 1
            return
        }
        problems.append(VolumeProblem(offset: member.offset + problem.offset, message: problem.message))
    }

    mutating func report(_ offset: Int, _ message: String) {
        report(VolumeProblem(offset: offset, message: message))
    }

    /// Whether `count` more bytes of LVM2 metadata may be read; they are then counted.
    mutating func takeMetadataBudget(_ count: Int) -> Bool {
        guard count <= metadataBudget else {
            report(0, "more than \(Self.maximumMetadataLength) bytes of LVM2 metadata; the rest is not read")
            return false
        }
        metadataBudget -= count
        return true
    }

    /// Adds a partition as the table has it, cut at the end of the disk as Linux does.
    ///
    /// `entryOffset` is where the table's entry is, in bytes.
    mutating func addPartition(_ partition: Partition, entryOffset: Int) {
        guard partition.range.offset < size else {
            report(
                entryOffset,
                "partition \(partition.index) starts at \(partition.range.offset), expected before the disk's end"
                    + " at \(size); left out")
            return
        }
        if partition.range.end > size {
            report(
                entryOffset,
                "partition \(partition.index) ends at \(partition.range.end), expected at most the disk's end at \(size);"
                    + " cut there")
        }
        let length = min(partition.range.length, size - partition.range.offset)
        partitions.append(
            Partition(
                index: partition.index,
                range: ByteRange(offset: member.offset + partition.range.offset, length: length),
                type: partition.type, name: partition.name, isContainer: partition.isContainer))
    }

    /// What was found, with these volumes.
    consuming func layout(
        volumes: [Volume], degradedVolumes: [Volume], physicalVolumes: PhysicalVolumeSet
    ) -> DiskLayout {
        if unlistedProblems > 0 {
            problems.append(VolumeProblem(offset: 0, message: "\(unlistedProblems) more problems are not listed"))
        }
        return DiskLayout(
            partitionTable: partitionTable, sectorSize: sectorSize,
            partitions: partitions, volumes: volumes, degradedVolumes: degradedVolumes,
            physicalVolumes: physicalVolumes,
            structures: Self.disjoint(structures), problems: problems)
    }

    /// The structures sorted, each without what an earlier one already holds.
    private static func disjoint(_ structures: [DiskStructure]) -> [DiskStructure] {
        var end = 0
        return structures.sorted { $0.range.offset < $1.range.offset }.compactMap { structure in
            let start = max(structure.range.offset, end)
            guard start < structure.range.end else { return nil }
            end = structure.range.end
            return DiskStructure(range: ByteRange(offset: start, length: end - start), kind: structure.kind)
        }
    }
}
