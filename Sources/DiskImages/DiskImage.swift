import BlockStorage

/// How a virtual disk is laid out in host files.
public enum ImageFormat: String, Sendable, Codable {
    /// The file is the disk, byte for byte.
    case raw
    /// A flat extent of VMware (`NAME-flat.vmdk`) on its own: the file is the disk, byte for byte.
    case vmdkFlat = "vmdk-flat"
    /// A VMware descriptor file and the flat extents that it names.
    case vmdk
}

/// A host file that is part of a disk image.
public struct HostFile: Hashable, Sendable {
    /// What the file holds.
    public enum Role: String, Sendable, Codable {
        /// Image-format metadata only: no byte of the virtual disk.
        case descriptor
        /// Bytes of the virtual disk.
        case extent
    }

    /// Where the file is, for people; for a server, whose paths are escaped (``HostFiles``), exactly.
    public let path: String
    /// The bytes of its path.
    public let location: ByteString
    /// What the file holds.
    public let role: Role

    /// A file of an image; its path has the bytes of `location`, or those of `path` in UTF-8.
    public init(path: String, role: Role, location: ByteString? = nil) {
        self.path = path
        self.role = role
        self.location = location ?? ByteString(path)
    }
}

/// A run of a virtual disk whose bytes are in one place.
public struct ImageExtent: Hashable, Sendable {
    /// Where bytes of the virtual disk come from.
    public enum Source: Hashable, Sendable {
        /// A host file: its index in ``DiskImage/files`` and the offset of the first byte in it.
        case file(index: Int, offset: Int)
        /// Nowhere: they read as zeros and cannot be written.
        case zero
    }

    /// The first byte on the virtual disk.
    public let diskOffset: Int
    /// The number of bytes, more than 0.
    public let length: Int
    /// Where the first byte is.
    public let source: Source

    /// A run of `length` bytes.
    public init(diskOffset: Int, length: Int, source: Source) {
        precondition(diskOffset >= 0 && length > 0 && diskOffset <= Int.max - length, "not an extent")
        self.diskOffset = diskOffset
        self.length = length
        self.source = source
    }

    /// The bytes of the virtual disk that this is.
    public var diskRange: ByteRange { ByteRange(offset: diskOffset, length: length) }

    /// The file and the bytes in it, or nil for zeros.
    var hostRange: (file: Int, range: ByteRange)? {
        guard case .file(let index, let offset) = source else { return nil }
        return (index, ByteRange(offset: offset, length: length))
    }
}

/// A virtual disk in host files: which files hold which of its bytes.
///
/// The map is that of the moment in which the image was identified; it changes only with the image's own metadata.
public struct DiskImage: Sendable {
    /// The largest disk that is looked into, in bytes: 512 TiB, more than any hypervisor gives a guest.
    public static let largestSize = 1 << 49

    /// How the disk is laid out.
    public let format: ImageFormat
    /// The host files, the descriptor first where there is one.
    public let files: [HostFile]
    /// The size of the virtual disk, in bytes.
    public let size: Int
    /// The disk's runs, sorted, from 0 to `size` without a gap. No two of them share a byte of a host file.
    public let extents: [ImageExtent]
    /// Indices into `extents` of those with a file, sorted by file and offset in it.
    private let byHostOffset: [Int]
    /// Where each of the disks is that were joined; the whole, when there is one.
    public private(set) var members: [ByteRange]

    /// An image of `extents`, or nil when they leave a gap, overlap, or hold a byte of a host file twice.
    init?(format: ImageFormat, files: [HostFile], extents: [ImageExtent]) {
        var end = 0
        for extent in extents {
            guard extent.diskOffset == end else { return nil }
            end = extent.diskRange.end
        }
        let hosted = extents.indices.compactMap { index in
            extents[index].hostRange.map { (index: index, file: $0.file, range: $0.range) }
        }
        .sorted { ($0.file, $0.range.offset) < ($1.file, $1.range.offset) }
        for (first, second) in zip(hosted, hosted.dropFirst()) where first.file == second.file {
            guard first.range.end <= second.range.offset else { return nil }
        }
        guard hosted.allSatisfy({ files.indices.contains($0.file) }) else { return nil }
        self.format = format
        self.files = files
        self.extents = extents
        size = end
        members = [ByteRange(offset: 0, length: end)]
        byHostOffset = hosted.map(\.index)
    }

    /// The disks of `images` one after the other, as one: for volume groups that reach over several. Nil when two of them
    /// have a file in common, or they are larger than ``largestSize``.
    public init?(joining images: [DiskImage]) {
        guard let format = images.first?.format else { return nil }
        var files: [HostFile] = []
        var extents: [ImageExtent] = []
        var members: [ByteRange] = []
        var end = 0
        for image in images {
            guard image.size <= Self.largestSize - end, Set(image.files).isDisjoint(with: files) else { return nil }
            for extent in image.extents {
                var source = extent.source
                if case .file(let index, let offset) = source {
                    source = .file(index: files.count + index, offset: offset)
                }
                extents.append(
                    ImageExtent(diskOffset: end + extent.diskOffset, length: extent.length, source: source))
            }
            files += image.files
            members += image.members.map { ByteRange(offset: end + $0.offset, length: $0.length) }
            end += image.size
        }
        self.init(format: format, files: files, extents: extents)
        self.members = members
    }

    /// The path that stands for the image: the descriptor's, or that of the only file.
    public var path: String { files.first?.path ?? "" }

    /// Calls `body` for each run of `range`, in order, with where its first byte is; what lies past the end of the
    /// disk is left out.
    public func forEachFileRange<Failure: Error>(
        of range: ByteRange, _ body: (_ source: ImageExtent.Source, _ diskRange: ByteRange) throws(Failure) -> Void
    ) throws(Failure) {
        var index = extents.partitioningIndex { $0.diskRange.end > range.offset }
        while index < extents.count, let piece = extents[index].diskRange.intersection(range) {
            let extent = extents[index]
            switch extent.source {
            case .zero:
                try body(.zero, piece)
            case .file(let file, let offset):
                try body(.file(index: file, offset: offset + piece.offset - extent.diskOffset), piece)
            }
            index += 1
        }
    }

    /// Calls `body` for each run of `fileRange` in the file `index` that is part of the disk, in the file's order.
    public func forEachDiskRange<Failure: Error>(
        ofFile index: Int, _ fileRange: ByteRange,
        _ body: (_ diskRange: ByteRange, _ fileOffset: Int) throws(Failure) -> Void
    ) throws(Failure) {
        var position = byHostOffset.partitioningIndex {
            guard let host = extents[$0].hostRange else { return false }
            return host.file > index || (host.file == index && host.range.end > fileRange.offset)
        }
        while position < byHostOffset.count {
            let extent = extents[byHostOffset[position]]
            guard let host = extent.hostRange, host.file == index,
                let piece = host.range.intersection(fileRange)
            else { return }
            let diskOffset = extent.diskOffset + piece.offset - host.range.offset
            try body(ByteRange(offset: diskOffset, length: piece.length), piece.offset)
            position += 1
        }
    }

    /// The disk's byte that is at `offset` of the file `index`, or nil when that byte is not part of the disk.
    public func diskOffset(file index: Int, offset: Int) -> Int? {
        guard offset >= 0, offset < Int.max else { return nil }
        var result: Int?
        forEachDiskRange(ofFile: index, ByteRange(offset: offset, length: 1)) { range, _ in result = range.offset }
        return result
    }
}
