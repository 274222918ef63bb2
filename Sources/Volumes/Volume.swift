import BlockStorage

/// A part of a disk that may hold a file system: a partition, a logical volume, or the whole disk.
public struct Volume: Sendable, Hashable {
    /// `disk`, `partition N`, or `GROUP/VOLUME`; unique on its disk.
    public let name: String
    /// The size in bytes.
    public let size: Int
    /// Where on the disk its bytes are.
    public let map: VolumeMap

    /// A volume of `size` bytes.
    public init(name: String, size: Int, map: VolumeMap) {
        precondition(size >= map.end, "the map lies inside the volume")
        self.name = name
        self.size = size
        self.map = map
    }

    /// A volume that is one range of the disk.
    public init(name: String, range: ByteRange) {
        self.init(name: name, size: range.length, map: VolumeMap(linear: range))
    }

    /// Whether every byte of the volume is on the disk.
    public var isComplete: Bool { map.mappedBytes == size }
}
