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
    /// What the scan of the file system reads with, and what it may still take on.
    let environment: ExtScan.Environment

    /// Nodes of the journal's block tree that are read; a journal of 4 GiB in blocks of 1 KiB has as many.
    private static let nodeLimit = 16_384

    private var reader: VolumeReader { environment.reader }

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
                problems.append("\(place) has no blocks that make sense, or in too many places: it is not followed")
                return nil
            }
            let bytes = try read(first)
            do throws(ExtFormatError) {
                let found = try JournalSuperblock(parsing: UnsafeRawBufferPointer(bytes.bytes).bytes)
                guard found.blockSize == geometry.blockSize, log.block(at: found.length - 1) != nil,
                    UInt64(found.length) <= geometry.endBlock
                else {
                    problems.append(
                        "\(place) has \(found.length) blocks of \(found.blockSize) bytes, unlike its inode")
                    return nil
                }
                guard Int(found.length) <= environment.options.journalLimit else {
                    problems.append(
                        """
                        \(place) has \(found.length) blocks, expected at most \(environment.options.journalLimit) more in \
                        journals of this disk: it is not followed
                        """)
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
        environment.meter.countRead(bytes: range.length)
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
            guard nodeCount + nodes.count <= Self.nodeLimit, runs.count <= JournalLog.runLimit,
                !environment.meter.isExhausted, environment.goOn()
            else { return nil }
            let bytes = try read(node.block)
            tree.forEachChild(
                in: UnsafeRawBufferPointer(bytes.bytes).bytes, level: node.level, logicalBlock: node.logicalBlock,
                mapping: role.mapping, inode: number, add)
        }
        return runs.count <= JournalLog.runLimit && takeRuns(runs.count) ? JournalLog(runs) : nil
    }

    /// Whether there is room for so many runs among those that a scan remembers.
    private func takeRuns(_ count: Int) -> Bool {
        let limit = environment.options.runLimit(blockCount: geometry.superblock.blockCount)
        for taken in 0..<count where !environment.meter.addRun(limit: limit) {
            environment.meter.removeRuns(taken)
            return false
        }
        return true
    }
}
