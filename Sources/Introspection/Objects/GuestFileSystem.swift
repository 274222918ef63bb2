import BlockStorage
import GuestFilesystems
import Volumes

/// A file of a guest cannot be had: no such path, or the guest's file system is damaged there.
public struct GuestFileError: Error, Hashable, CustomStringConvertible {
    /// One line that names the volume, the file and what was expected.
    public let description: String

    init(_ description: String) {
        self.description = description
    }
}

/// A guest's file system, opened to look at its files.
///
/// Reads what a path needs and nothing else: no scan comes first. Nothing is ever written.
public struct GuestFileSystem: Sendable {
    /// The volume it is on.
    public var volume: Volume { reader.volume }
    let geometry: ExtGeometry
    let reader: VolumeReader
    /// The most places on the disk that are told of a file.
    var placeLimit = Int.max

    /// The file systems of a disk that are understood, in the order of its volumes; what is wrong with others, and with
    /// the disk's tables, is added to `problems`, a readable line each.
    ///
    /// - Parameter name: the disk's name in `problems`.
    public static func all(
        on disk: any ClassifiedReader, name: String, problems: inout [String]
    ) throws(StorageError) -> [GuestFileSystem] {
        let layout = try DiskLayout.read(through: disk, name: name)
        problems += layout.problems.map { "\(name): \($0)" }
        var found: [GuestFileSystem] = []
        for volume in layout.volumes {
            let reader = VolumeReader(volume: volume, disk: disk)
            let probe = SuperblockProbe(reader: reader, name: name, options: ScanOptions())
            guard let superblock = probe.superblock(&problems) else { continue }
            found.append(GuestFileSystem(geometry: ExtGeometry(superblock), reader: reader))
        }
        return found
    }

    /// The file with inode number `number`, whether or not a directory leads to it.
    public func file(inode number: UInt32) throws(GuestFileError) -> GuestFile {
        guard let group = geometry.group(ofInode: number) else {
            throw error("there is no inode \(number), expected 1 to \(geometry.superblock.inodeCount)")
        }
        let block = geometry.descriptorBlock(group / geometry.descriptorsPerBlock)
        guard geometry.contains(block) else { throw error("the descriptor of group \(group) is outside it") }
        let descriptors = try bytes(ofBlock: block, as: .groupDescriptor)
        guard let (descriptor, _) = geometry.descriptor(ofGroup: group, in: descriptors.span.bytes),
            let place = geometry.location(ofInode: number, in: descriptor)
        else { throw error("the inode table of group \(group) is not where its descriptor says") }
        let table = try bytes(ofBlock: place.block, as: .inodeTable)
        let own = Array(table[place.offset..<place.offset + geometry.superblock.inodeSize])
        do throws(ExtFormatError) {
            let file = GuestFile(
                number: number, inode: try ExtInode(parsing: own.span.bytes),
                attributes: try ExtInodeAttributes(parsing: own.span.bytes), bytes: own,
                place: Int(place.block) * geometry.blockSize + place.offset)
            guard file.inode.isInUse(number: number, in: geometry.superblock) else {
                throw ExtFormatError(
                    .badValue, "inode \(number)", field: "i_links_count", offset: 26, found: 0, expected: "a file")
            }
            return file
        } catch {
            throw self.error("\(error)")
        }
    }

    func error(_ text: String) -> GuestFileError {
        GuestFileError("\(volume.name): \(text)")
    }

    /// The bytes of a block, which must be inside the file system.
    func bytes(ofBlock block: UInt64, as blockClass: BlockClass) throws(GuestFileError) -> [UInt8] {
        let range = ByteRange(offset: Int(block) * geometry.blockSize, length: geometry.blockSize)
        let buffer = AlignedBuffer(count: range.length)
        do throws(StorageError) {
            try reader.read(range, as: blockClass, into: buffer.bytes)
        } catch {
            throw GuestFileError("\(volume.name): \(error)")
        }
        return Array(buffer.bytes)
    }
}

/// An inode in use, as it was read.
public struct GuestFile: Sendable {
    /// The inode's number.
    public let number: UInt32
    let inode: ExtInode
    let attributes: ExtInodeAttributes
    /// All bytes of the inode.
    let bytes: [UInt8]
    /// Where in the volume they are.
    let place: Int

    /// What it stands for.
    public var kind: ExtInode.Kind { inode.kind }
    /// Type and permissions, as in `st_mode`.
    public var mode: UInt16 { inode.mode }
    /// The size in bytes.
    public var size: UInt64 { inode.size }
    /// Whether its contents, a directory's names or a symbolic link's target are encrypted.
    public var isEncrypted: Bool { inode.flags.contains(.encrypted) }
    /// Whether it is a directory that ignores the case of names.
    public var ignoresCase: Bool { kind == .directory && inode.flags.contains(.caseFolded) }
    /// The number of names it has.
    public var linkCount: Int { Int(inode.linkCount) }
    /// The owner.
    public var user: UInt32 { attributes.user }
    /// The group.
    public var group: UInt32 { attributes.group }
    /// When its contents changed last, in seconds since 1970.
    public var modificationTime: Int64 { attributes.modificationTime }
}
