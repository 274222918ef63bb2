import BlockStorage

/// Bytes of a disk that say how it is divided.
public struct DiskStructure: Hashable, Sendable {
    /// What the bytes are.
    public enum Kind: String, Sendable, Codable {
        /// A master or extended boot record, or a GPT header or its entries, backups included.
        case partitionTable
        /// The sectors that may hold an LVM2 label, or a metadata area of LVM2.
        case lvmMetadata
        /// What a logical volume needs to be what it is: the metadata of a mirror, a RAID, a pool or a cache. Written
        /// while the volume is in use, it says nothing of how the disk is divided.
        case lvmSubvolume
    }

    /// Where on the disk.
    public let range: ByteRange
    /// What the bytes are.
    public let kind: Kind

    /// A structure.
    public init(range: ByteRange, kind: Kind) {
        self.range = range
        self.kind = kind
    }
}

/// The LVM2 physical volumes of a disk, by identifier.
public struct PhysicalVolumeSet: Hashable, Sendable {
    /// Those on the disk.
    public var present: Set<String> = []
    /// Those of the same volume groups that are on no disk that was read.
    public var missing: Set<String> = []

    /// A set; without any unless told otherwise.
    public init(present: Set<String> = [], missing: Set<String> = []) {
        self.present = present
        self.missing = missing
    }
}

/// How a disk is divided: its partitions, and the volumes that may hold file systems.
///
/// Whatever the bytes on the disk say, every range here lies inside the disk, and no two volumes share a byte.
public struct DiskLayout: Sendable {
    /// What kind of partition table the disk has.
    public let partitionTable: PartitionTableKind
    /// The unit of the partition table, in bytes: 512 or 4096.
    public let sectorSize: Int
    /// The partitions, by index.
    public let partitions: [Partition]
    /// What may hold a file system: logical volumes and partitions without LVM, or, where there are none, the disk.
    public let volumes: [Volume]
    /// Logical volumes of which some part is not on this disk, or is kept in a way that is not understood.
    public let degradedVolumes: [Volume]
    /// The physical volumes, and those that belong to them.
    public let physicalVolumes: PhysicalVolumeSet
    /// Where the tables and metadata are, sorted, without overlap.
    public let structures: [DiskStructure]
    /// What is wrong with them.
    public let problems: [VolumeProblem]
}
