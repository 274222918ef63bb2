import BlockStorage
import GuestFilesystems

/// Inode tables and what inodes point at.
extension ExtDigest {
    /// Blocks of inode tables that are read at once.
    private static let blocksAtOnce = 64

    /// `h_magic` of a block of extended attributes (`Documentation/filesystems/ext4/attributes.rst`).
    private static let attributeMagic: [UInt8] = [0x00, 0x00, 0x02, 0xEA]

    /// An inode in use, with what it points at itself.
    private struct Found {
        var number: UInt32
        var inode: ExtInode
        var claims: Claims
    }

    /// What an inode claims: blocks of extended attributes, and the rest.
    private struct Claims {
        var attributes: [UInt64] = []
        var runs: [MetadataRun] = []

        init(_ all: [MetadataRun] = []) {
            attributes = all.filter(\.isShared).map(\.block)
            runs = FileSystemMap.canonical(all.filter { !$0.isShared })
        }
    }

    /// Digests blocks of inode tables, which are sorted.
    func digestTables(_ blocks: [(block: UInt64, group: Int, index: Int)]) {
        var rest = blocks[...]
        while !isOver, let first = rest.first {
            var count = 1
            while count < rest.count, count < Self.blocksAtOnce,
                rest[rest.startIndex + count].block == first.block + UInt64(count)
            {
                count += 1
            }
            withBlocks(first.block, count: count, as: .inodeTable) { bytes in
                for (number, entry) in rest.prefix(count).enumerated() where !isOver {
                    let start = number * geometry.blockSize
                    let block = UnsafeRawBufferPointer(rebasing: bytes[start..<start + geometry.blockSize])
                    digestTable(block, group: entry.group, index: entry.index)
                }
            }
            rest = rest.dropFirst(count)
        }
    }

    /// Digests one block of an inode table.
    private func digestTable(_ bytes: UnsafeRawBufferPointer, group: Int, index: Int) {
        let first = index * geometry.inodesPerBlock
        let count = min(geometry.inodesPerBlock, Int(geometry.superblock.inodesPerGroup) - first)
        var plain: [UInt32] = []
        var found: [Found] = []
        for slot in 0..<max(0, count) {
            let number = geometry.inode(group: group, index: first + slot)
            guard let inode = try? ExtInode(parsing: bytes.bytes, at: slot * geometry.superblock.inodeSize) else {
                return
            }
            if mayOwnMetadata(inode, number: number) {
                found.append(
                    Found(number: number, inode: inode, claims: Claims(inodeWalk.roots(of: inode, number: number))))
            } else {
                plain.append(number)
            }
        }
        var changed: [Found] = []
        var emptied: [UInt32] = []
        access { fileSystem in
            for number in plain {
                if fileSystem.map.hasRuns(number) { emptied.append(number) }
                self.claimAttributes([], of: number, in: fileSystem)
            }
            for inode in found {
                self.claimAttributes(inode.claims.attributes, of: inode.number, in: fileSystem)
                let digest = FileSystemMap.digest(of: inode.claims.runs)
                if !fileSystem.map.isUnchanged(inode.number, roots: inode.claims.runs, digest: digest) {
                    changed.append(inode)
                }
            }
        }
        for number in emptied { apply(Claims(), roots: [], of: number) }
        for inode in changed { walk(inode) }
    }

    /// Whether `inode` can point at metadata, told as quickly as can be: most files have none.
    private func mayOwnMetadata(_ inode: ExtInode, number: UInt32) -> Bool {
        guard inode.isInUse(number: number, in: geometry.superblock) else { return false }
        guard inode.kind == .regular, number >= geometry.superblock.firstInode, !inode.flags.contains(.attributeValue),
            !geometry.superblock.isBookkeeping(number), number != geometry.superblock.journalInode,
            inode.attributeBlock(in: geometry.superblock) == 0
        else { return true }
        switch inode.mapping(number: number, in: geometry.superblock) {
        case .none: return false
        case .indirect: return inode.pointer(12) != 0 || inode.pointer(13) != 0 || inode.pointer(14) != 0
        // `eh_depth`: without nodes outside the inode there is nothing but data.
        case .extents: return inode.pointer(1) >> 16 != 0
        }
    }

    /// Finds all that an inode owns, and puts it in the map.
    private func walk(_ found: Found) {
        guard !isOver else { return }
        walked.insert(found.number)
        do throws(StorageError) {
            let all = Claims(try inodeWalk.metadataRuns(of: found.inode, number: found.number))
            access { self.claimAttributes(all.attributes, of: found.number, in: $0) }
            apply(all, roots: found.claims.runs, of: found.number)
        } catch {
            if walkReader.isExhausted {
                fail("inode \(found.number) leads to more blocks than a digest reads")
            } else if error.code == .damaged {
                fail("inode \(found.number) has more metadata than \(inodeWalk.runLimit) runs")
            } else {
                fail("what inode \(found.number) points at cannot be read: \(error)")
            }
        }
    }

    /// Walks an inode whose own block need not have been written.
    func rewalk(_ number: UInt32) {
        guard !isOver, let found = currentInode(number) else { return }
        if mayOwnMetadata(found.inode, number: number) {
            walk(found)
        } else {
            access { self.claimAttributes([], of: number, in: $0) }
            apply(Claims(), roots: [], of: number)
        }
    }

    /// Looks again at inodes and blocks that others gave up, until no doubt is left or the limit is reached.
    func settleDoubts() {
        var rechecked: Set<UInt32> = []
        while !isOver {
            if let block = doubtfulAttributes.popLast() {
                settleAttributes(at: block)
            } else if let former = formerAttributes.popLast() {
                restoreAttributes(at: former.block, of: former.owner)
            } else if let inode = rechecks.popLast() {
                guard rechecked.count < limits.rechecks else {
                    fail("more than \(limits.rechecks) inodes claim blocks of others")
                    return
                }
                if rechecked.insert(inode).inserted { rewalk(inode) }
            } else {
                return
            }
        }
    }

    /// Decides whether `block` still holds extended attributes: by its content, and where that is old or not yet
    /// there, by the inode that claimed it.
    private func settleAttributes(at block: UInt64) {
        var owner: UInt32?
        access { owner = $0.map.attributeOwner(of: block) }
        guard let owner, let looksIntact = looksLikeAttributes(block), !looksIntact else { return }
        if let found = currentInode(owner), found.claims.attributes.contains(block) { return }
        access { fileSystem in
            self.recheck(fileSystem.map.dropAttributes(at: block) { self.note($0) })
        }
    }

    /// Makes `block` one of extended attributes again if it looks like one.
    private func restoreAttributes(at block: UInt64, of owner: UInt32) {
        guard looksLikeAttributes(block) == true else { return }
        access { fileSystem in
            fileSystem.map.restoreAttributes(at: block, of: owner) { self.note($0) }
        }
    }

    /// Whether `block` begins as one of extended attributes does; nil when it cannot be read.
    private func looksLikeAttributes(_ block: UInt64) -> Bool? {
        withBlocks(block, as: .extendedAttribute) { $0.prefix(4).elementsEqual(Self.attributeMagic) }
    }

    /// Whether there is no point in going on: a rescan is due.
    private var isOver: Bool { staleReason != nil }

    /// The inode as it is on disk now; nil when it cannot be read.
    private func currentInode(_ number: UInt32) -> Found? {
        guard let group = geometry.group(ofInode: number), group < descriptors.count,
            let location = geometry.location(ofInode: number, in: descriptors[group])
        else { return nil }
        let inode = withBlocks(location.block, as: .inodeTable) {
            try? ExtInode(parsing: $0.bytes, at: location.offset)
        }
        guard case let inode?? = inode else { return nil }
        return Found(number: number, inode: inode, claims: Claims(inodeWalk.roots(of: inode, number: number)))
    }

    private func claimAttributes(_ blocks: [UInt64], of number: UInt32, in fileSystem: LiveFileSystem) {
        doubtfulAttributes += fileSystem.map.claimAttributes(blocks, of: number) { note($0) }
        checkRoom(in: fileSystem)
    }

    /// Takes no more on when the map has as many runs as it may have: a scan finds out what there is room for.
    private func checkRoom(in fileSystem: LiveFileSystem) {
        if fileSystem.map.dynamic.count > limits.runs { fail("more metadata than can be noted was written") }
    }

    /// Runs of which is asked whether they were written, while the map is held.
    private static let runsAtOnce = 512

    /// Makes `all` what inode `number` owns; the map is not held for longer than a step takes, whatever that is.
    private func apply(_ all: Claims, roots: [MetadataRun], of number: UInt32) {
        let digest = roots == all.runs ? nil : FileSystemMap.digest(of: roots)
        var update = OwnedRunsUpdate(of: number, all.runs, digest: digest)
        var (isDone, hasChanged) = (false, false)
        while !isDone, !isOver {
            isDone = true
            access { fileSystem in
                isDone = update.step(&fileSystem.map) {
                    hasChanged = true
                    self.note($0)
                }
                if fileSystem.map.lostConflicts { self.fail("more blocks are claimed twice than can be noted") }
                self.checkRoom(in: fileSystem)
            }
        }
        recheck(update.settledConflicts)
        guard hasChanged else { return }
        // A node that was written after the walk read it, and before the map knew it for a node, has to be read again.
        var nodes = all.runs.filter(\.pointsAtMetadata)[...]
        while !nodes.isEmpty {
            access { fileSystem in
                for run in nodes.prefix(Self.runsAtOnce) where fileSystem.written.mayContain(run.block..<run.end) {
                    fileSystem.markUndigested(run.block..<min(run.end, fileSystem.map.blockCount))
                }
            }
            nodes = nodes.dropFirst(Self.runsAtOnce)
        }
    }
}
