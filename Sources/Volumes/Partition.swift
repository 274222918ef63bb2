import BlockStorage

/// The kinds of partition tables.
public enum PartitionTableKind: String, Sendable, Codable {
    /// No table: the disk is used as a whole, or not at all.
    case none
    /// A master boot record, with extended boot records where there are any.
    case mbr
    /// A GUID partition table behind a protective master boot record.
    case gpt
    /// A GUID partition table behind a master boot record that lists partitions of its own.
    case hybrid
}

/// A partition of a disk.
public struct Partition: Hashable, Sendable {
    /// The number that Linux gives it; from 1.
    public let index: Int
    /// The bytes of the disk, all of them inside it.
    public let range: ByteRange
    /// MBR: the type byte in hexadecimal (`83`). GPT: the type GUID in capitals.
    public let type: String
    /// The name in the table; empty where there is none.
    public let name: String
    /// Whether this is an extended partition, which holds other partitions and no file system.
    public let isContainer: Bool

    /// A partition.
    public init(index: Int, range: ByteRange, type: String, name: String = "", isContainer: Bool = false) {
        self.index = index
        self.range = range
        self.type = type
        self.name = name
        self.isContainer = isContainer
    }
}
