import BlockStorage
import GuestFilesystems

/// Finds the metadata of one inode: its nodes, and its contents where they are metadata themselves.
///
/// For one inode at a time, after it was written; a scan takes all inodes together, level by level, through the
/// same ``ExtBlockTree``.
struct ExtInodeWalk {
    /// The file system's geometry.
    let geometry: ExtGeometry
    /// Reads the volume of the file system.
    let reader: any ClassifiedReader
    /// The most nodes that are read for an inode; a file has no more than this, a loop would.
    var nodeLimit = 1 << 20
    /// The most runs of metadata that are taken of an inode. A file of 2 TiB in blocks of 4 KiB has half as many indirect
    /// blocks; a node that is pointed at again and again has any number.
    var runLimit = 1 << 20

    /// What of `inode` is metadata, sorted by block; empty when it is not in use.
    ///
    /// A block that the inode claims twice is in one run only. Pointers that make no sense are passed over. Throws
    /// `damaged` when there is more than ``runLimit``.
    func metadataRuns(of inode: ExtInode, number: UInt32) throws(StorageError) -> [MetadataRun] {
        guard let role = ExtInodeRole(inode, number: number, superblock: geometry.superblock) else { return [] }
        var tree = ExtBlockTree(geometry: geometry)
        var claims = ClaimedRuns()
        var found = Self.roots(of: inode, role, &tree).filter(\.isMetadata)
        let block = AlignedBuffer(count: geometry.blockSize)
        var nodesLeft = nodeLimit
        while !found.isEmpty {
            let accepted = claims.claim(found)
            found.removeAll(keepingCapacity: true)
            for node in accepted where node.run.pointsAtMetadata {
                guard nodesLeft > 0 else { return claims.runs }
                nodesLeft -= 1
                let offset = Int(node.run.block) * geometry.blockSize
                try reader.read(
                    ByteRange(offset: offset, length: geometry.blockSize), as: .indirect, into: block.bytes)
                tree.forEachChild(
                    in: UnsafeRawBufferPointer(block.bytes).bytes, level: node.run.level,
                    logicalBlock: node.logicalBlock, mapping: role.mapping, inode: number
                ) {
                    let wanted = WantedRun($0, role)
                    if wanted.isMetadata { found.append(wanted) }
                }
                guard claims.runs.count + found.count <= runLimit else {
                    throw StorageError(
                        .damaged, operation: "more than \(runLimit) runs of metadata", device: "inode \(number)")
                }
            }
        }
        return claims.runs
    }

    /// What `inode` itself points at and is metadata, sorted by block: the part of ``metadataRuns(of:number:)`` that
    /// takes no reading.
    func roots(of inode: ExtInode, number: UInt32) -> [MetadataRun] {
        guard let role = ExtInodeRole(inode, number: number, superblock: geometry.superblock) else { return [] }
        var tree = ExtBlockTree(geometry: geometry)
        var claims = ClaimedRuns()
        _ = claims.claim(Self.roots(of: inode, role, &tree).filter(\.isMetadata))
        return claims.runs
    }

    private static func roots(of inode: ExtInode, _ role: ExtInodeRole, _ tree: inout ExtBlockTree) -> [WantedRun] {
        var found: [WantedRun] = []
        if let block = role.attributeBlock, tree.geometry.contains(block) {
            found.append(WantedRun(attributeBlock: block, owner: role.number))
        }
        tree.forEachRoot(of: inode, role) { found.append(WantedRun($0, role)) }
        return found
    }
}
