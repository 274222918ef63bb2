import BlockStorage
import GuestFilesystems

/// The journal of a file system, as a scan found it.
struct ScannedJournal: Sendable {
    var log: JournalLog
    var superblock: JournalSuperblock
}

/// Finds the journal of a file system, and says what is wrong when it cannot be followed.
struct JournalProbe {
    let geometry: ExtGeometry
    let descriptors: [ExtGroupDescriptor]
    /// Reads the volume of the file system.
    let reader: VolumeReader

    /// Nodes of the journal's block tree that are read; a journal of 4 GiB in blocks of 1 KiB has as many.
    private static let nodeLimit = 16_384
    /// Blocks of the longest journal that is followed; e2fsprogs makes none longer than 10,240,000.
    private static let lengthLimit: UInt32 = 1 << 24

    /// The journal; nil when there is none, or it cannot be followed: then with a problem.
    func journal(_ problems: inout [String]) -> ScannedJournal? {
        let superblock = geometry.superblock
        guard superblock.compatible.contains(.hasJournal) else { return nil }
        let place = "\(reader.volume.name): the journal"
        guard superblock.journalInode != 0 else {
            problems.append("\(place) is on another device (UUID \(superblock.journalUUID)): it is not followed")
            return nil
        }
        do throws(StorageError) {
            guard let log = try log(ofInode: superblock.journalInode), let first = log.block(at: 0) else {
                problems.append("\(place) has no blocks that make sense: it is not followed")
                return nil
            }
            let bytes = try read(first)
            do throws(ExtFormatError) {
                let found = try JournalSuperblock(parsing: UnsafeRawBufferPointer(bytes.bytes).bytes)
                guard found.blockSize == geometry.blockSize, found.length <= Self.lengthLimit,
                    log.block(at: found.length - 1) != nil
                else {
                    problems.append(
                        "\(place) has \(found.length) blocks of \(found.blockSize) bytes, unlike its inode")
                    return nil
                }
                return ScannedJournal(log: log, superblock: found)
            } catch {
                problems.append("\(place) is not followed: \(error)")
                return nil
            }
        } catch {
            problems.append("\(place) cannot be read: \(error)")
            return nil
        }
    }

    private func read(_ block: UInt64) throws(StorageError) -> AlignedBuffer {
        let buffer = AlignedBuffer(count: geometry.blockSize)
        let range = ByteRange(offset: Int(block) * geometry.blockSize, length: geometry.blockSize)
        try reader.read(range, as: .journal, into: buffer.bytes)
        return buffer
    }

    private func log(ofInode number: UInt32) throws(StorageError) -> JournalLog? {
        guard let group = geometry.group(ofInode: number), group < descriptors.count,
            let location = geometry.location(ofInode: number, in: descriptors[group])
        else { return nil }
        let table = try read(location.block)
        guard let inode = try? ExtInode(parsing: UnsafeRawBufferPointer(table.bytes).bytes, at: location.offset),
            let role = ExtInodeRole(inode, number: number, superblock: geometry.superblock)
        else { return nil }
        var tree = ExtBlockTree(geometry: geometry)
        var nodes: [ExtBlockRun] = []
        var runs: [JournalLog.Run] = []
        func add(_ found: ExtBlockRun) {
            if found.level > 0 {
                nodes.append(found)
            } else if let index = UInt32(exactly: found.logicalBlock) {
                runs.append(JournalLog.Run(index: index, block: found.block, count: found.count))
            }
        }
        tree.forEachRoot(of: inode, role, add)
        var nodeCount = 0
        while let node = nodes.popLast() {
            nodeCount += 1
            guard nodeCount <= Self.nodeLimit, runs.count <= JournalLog.runLimit else { return nil }
            let bytes = try read(node.block)
            tree.forEachChild(
                in: UnsafeRawBufferPointer(bytes.bytes).bytes, level: node.level, logicalBlock: node.logicalBlock,
                mapping: role.mapping, inode: number, add)
        }
        return runs.count <= JournalLog.runLimit ? JournalLog(runs) : nil
    }
}
