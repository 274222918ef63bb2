import BlockStorage
import Glibc

/// What a scan found, to be saved beside an image, so that a server need not scan the image when it starts.
///
/// A map holds what is expensive to find: allocation bits and the metadata that inodes own. Partition tables, volumes,
/// superblocks, group descriptors and journals are read again from the disk and held against it when it is loaded.
///
/// A map is current while size and modification time of the image's files are those that it was made with, and
/// superblocks and group descriptors are the same: see ``DiskIntrospector/load(_:files:_:)``.
public struct SavedMap: Hashable, Sendable {
    /// A host file of the image when the map was made.
    public struct FileStamp: Hashable, Sendable {
        /// The size in bytes.
        public let size: Int
        /// The modification time: whole seconds, and nanoseconds beyond them.
        public let seconds: Int
        /// Nanoseconds beyond ``seconds``.
        public let nanoseconds: UInt32

        /// A file of `size` bytes that was changed at `seconds` and `nanoseconds`.
        public init(size: Int, seconds: Int, nanoseconds: UInt32) {
            self.size = size
            self.seconds = seconds
            self.nanoseconds = nanoseconds
        }

        /// The file at `location` as it is now; nil when it cannot be found.
        public init?(location: ByteString) {
            var status = stat()
            guard location.withCString({ stat($0, &status) }) == 0 else { return nil }
            self.init(status)
        }

        /// The open file `descriptor` as it is now; nil when that is none.
        public init?(descriptor: Int32) {
            var status = stat()
            guard fstat(descriptor, &status) == 0 else { return nil }
            self.init(status)
        }

        private init(_ status: stat) {
            size = status.st_size
            seconds = status.st_mtim.tv_sec
            nanoseconds = UInt32(truncatingIfNeeded: status.st_mtim.tv_nsec)
        }
    }

    /// What a map holds of one file system.
    struct FileSystem: Hashable, Sendable {
        /// The name of the volume.
        var volume: String
        /// A checksum of superblock and group descriptors: see ``ExtScan/structureChecksum()``.
        var structureChecksum: UInt32
        var counts: FileCounts
        var allocation: AllocationBits
        /// See ``ScannedFileSystem/runs`` and ``ScannedFileSystem/roots``.
        var runs: [MetadataRun]
        var roots: [MetadataRun]
    }

    /// The size of the virtual disk in bytes.
    let diskSize: Int
    /// The image's files, in the image's order.
    let files: [FileStamp]
    let fileSystems: [FileSystem]
}

/// Why a saved map cannot be used.
public struct SavedMapError: Error, Hashable, Sendable, CustomStringConvertible {
    /// One line.
    public let description: String

    /// A reason.
    public init(_ description: String) { self.description = description }
}
