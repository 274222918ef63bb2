import Foundation

/// A fixture that has been made: files, and where in the disk each file system lies.
public struct FixtureImage: Sendable {
    /// Where a piece of a volume lies on the disk, in bytes.
    public struct Extent: Sendable {
        /// The first byte on the virtual disk.
        public let diskOffset: Int
        /// The first byte in the volume.
        public let volumeOffset: Int
        /// Bytes in the piece.
        public let length: Int
    }

    /// A file system on the disk.
    public struct Volume: Sendable {
        /// A file that holds the volume's bytes alone.
        public let path: String
        /// The volume as a person names it: `disk`, `partition 2`, `vg0/root`.
        public let name: String
        /// Where the volume's bytes lie, as sfdisk and LVM reported it.
        public let extents: [Extent]
    }

    /// Bytes around the volumes that hold a structure.
    public struct Structure: Sendable {
        /// The name of the class of those bytes.
        public let className: String
        /// The first byte on the virtual disk.
        public let offset: Int
        /// Bytes in the structure.
        public let length: Int
    }

    /// The image to open: the raw disk or the VMDK descriptor.
    public let path: String
    /// The file systems on it.
    public let volumes: [Volume]
    /// Partition tables and LVM metadata on it.
    public let structures: [Structure]

    /// Reads what `Fixtures/make` left in `directory`.
    init(directory: URL) throws {
        let manifest = try String(contentsOf: directory.appending(path: "manifest"), encoding: .utf8)
        var path = ""
        var volumes: [(file: String, name: String, extents: [Extent])] = []
        var structures: [Structure] = []
        for line in manifest.split(separator: "\n") {
            let words = line.split(separator: " ", maxSplits: line.hasPrefix("volume") ? 2 : 3).map(String.init)
            let numbers = words.dropFirst().compactMap { Int($0) }
            switch words[0] {
            case "image": path = directory.appending(path: words[1]).path
            case "volume": volumes.append((directory.appending(path: words[1]).path, words[2], []))
            case "extent":
                let extent = Extent(diskOffset: numbers[0], volumeOffset: numbers[1], length: numbers[2])
                volumes[volumes.count - 1].extents.append(extent)
            case "structure":
                structures.append(Structure(className: words[1], offset: numbers[0], length: numbers[1]))
            default: throw FixtureError(description: "\(directory.path)/manifest: \(line)")
            }
        }
        self.path = path
        self.volumes = volumes.map { Volume(path: $0.file, name: $0.name, extents: $0.extents) }
        self.structures = structures
    }
}

/// Why a fixture is not there.
public struct FixtureError: Error, CustomStringConvertible {
    /// What failed, with the tool's own words.
    public let description: String
}
