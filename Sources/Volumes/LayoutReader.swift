import BlockStorage

/// One reading of a disk: what was found so far.
struct LayoutReader<Disk: BlockDevice> {
    /// How many problems are told apart before the rest is only counted: a hostile disk can have one a byte.
    private static var maximumProblems: Int { 64 }
    /// How many bytes of LVM2 metadata are read from one disk, whatever number of areas it claims to have.
    private static var maximumMetadataLength: Int { 16 << 20 }

    let disk: Disk
    /// The disk's size when the reading began, in bytes.
    let size: Int
    var partitionTable = PartitionTableKind.none
    var sectorSize = 512
    var partitions: [Partition] = []
    private var structures: [DiskStructure] = []
    private var problems: [VolumeProblem] = []
    private var unlistedProblems = 0
    private var metadataBudget = Self.maximumMetadataLength

    init(disk: Disk) {
        self.disk = disk
        size = disk.size
    }

    /// The bytes of `range`, or nil when the disk ends before they do.
    func read(_ range: ByteRange) throws(StorageError) -> [UInt8]? {
        guard range.end <= size else { return nil }
        return try disk.read(range)
    }

    /// Notes that `range`, or what of it is on the disk, is metadata.
    mutating func addStructure(_ range: ByteRange, _ kind: DiskStructure.Kind) {
        guard let inside = range.intersection(ByteRange(offset: 0, length: size)) else { return }
        structures.append(DiskStructure(range: inside, kind: kind))
    }

    mutating func report(_ problem: VolumeProblem) {
        guard problems.count < Self.maximumProblems else {
            unlistedProblems += 1
            return
        }
        problems.append(problem)
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
        guard partition.range.end > size else {
            partitions.append(partition)
            return
        }
        report(
            entryOffset,
            "partition \(partition.index) ends at \(partition.range.end), expected at most the disk's end at \(size);"
                + " cut there")
        partitions.append(
            Partition(
                index: partition.index,
                range: ByteRange(offset: partition.range.offset, length: size - partition.range.offset),
                type: partition.type, name: partition.name, isContainer: partition.isContainer))
    }

    /// What was found, with these volumes.
    consuming func layout(volumes: [Volume], degradedVolumes: [Volume]) -> DiskLayout {
        if unlistedProblems > 0 {
            problems.append(VolumeProblem(offset: 0, message: "\(unlistedProblems) more problems are not listed"))
        }
        return DiskLayout(
            partitionTable: partitionTable, sectorSize: sectorSize,
            partitions: partitions.sorted { $0.index < $1.index },
            volumes: volumes, degradedVolumes: degradedVolumes,
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
