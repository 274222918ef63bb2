import BlockStorage
import GuestFilesystems

/// What one thread of a scan has of its own: a buffer, and what it found.
final class ScanWorker: @unchecked Sendable {
    /// What is read goes here, a request at a time; as large as the largest request so far.
    private var buffer = AlignedBuffer(count: 0)
    /// Blocks to look at on the next level.
    var found: [WantedRun] = []
    /// Contents of plain files, when the scan wants them.
    var dataRuns: [OwnedRun] = []
    /// Inodes by kind.
    var counts = FileCounts()
    /// Follows block trees and counts what is wrong with them.
    var tree: ExtBlockTree
    /// Reads that failed, the first on the disk with its error.
    var readFailures = 0
    var firstReadFailure: (offset: Int, error: StorageError)?
    /// Whether more was found than the scan takes on.
    var hasOverflowed = false
    let collectsData: Bool
    let runLimit: Int
    /// Counts runs of all threads together.
    private let meter: ScanMeter

    init(geometry: ExtGeometry, collectsData: Bool, runLimit: Int, meter: ScanMeter) {
        tree = ExtBlockTree(geometry: geometry)
        self.collectsData = collectsData
        self.runLimit = runLimit
        self.meter = meter
    }

    /// Memory for a read of `count` bytes, which the next read uses again.
    func memory(of count: Int) -> UnsafeMutableRawBufferPointer {
        if buffer.count < count {
            buffer = AlignedBuffer(count: max(count, 2 * buffer.count))
        }
        return UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[..<count])
    }

    /// Notes what an inode points at.
    func visit(_ inode: ExtInode, number: UInt32) {
        guard let role = ExtInodeRole(inode, number: number, superblock: tree.geometry.superblock) else { return }
        if number >= tree.geometry.superblock.firstInode || number == ExtInode.Number.root {
            counts.inodes += 1
            switch inode.kind {
            case .regular: counts.files += 1
            case .directory: counts.directories += 1
            case .symbolicLink: counts.symbolicLinks += 1
            default: break
            }
        }
        if let block = role.attributeBlock, tree.geometry.contains(block) {
            note(WantedRun(attributeBlock: block, owner: number))
        }
        tree.forEachRoot(of: inode, role) { note(WantedRun($0, role)) }
    }

    /// Notes what a node, whose bytes are given, points at.
    func visit(_ node: WantedRun, _ bytes: RawSpan) {
        tree.forEachChild(
            in: bytes, level: node.run.level, logicalBlock: node.logicalBlock, mapping: node.mapping,
            inode: node.run.owner
        ) {
            note(WantedRun($0, owner: node.run.owner, contents: node.contents, mapping: node.mapping))
        }
    }

    private func note(_ wanted: WantedRun) {
        guard dataRuns.count < runLimit else {
            hasOverflowed = true
            return
        }
        if wanted.isMetadata {
            guard meter.addRun(limit: runLimit) else {
                hasOverflowed = true
                return
            }
            found.append(wanted)
        } else if collectsData, wanted.run.blockClass != .groupDescriptor {
            dataRuns.append(
                OwnedRun(
                    block: wanted.run.block, count: wanted.run.count, owner: wanted.run.owner,
                    logicalBlock: wanted.logicalBlock))
        }
    }
}
