import BlockStorage
import GuestFilesystems

/// Superblock, descriptors and block bitmaps.
extension ExtDigest {
    /// Looks whether the file system is still the one that was scanned.
    func checkSuperblock() {
        let known = geometry.superblock
        withBlocks(UInt64(ExtSuperblock.offset / geometry.blockSize), as: .superblock) { block in
            let start = ExtSuperblock.offset % geometry.blockSize
            let bytes = UnsafeRawBufferPointer(rebasing: block[start..<start + ExtSuperblock.size])
            do throws(ExtFormatError) {
                let found = try ExtSuperblock(parsing: bytes.bytes)
                if found.uuidBytes != known.uuidBytes {
                    fail("another file system was made: \(found.uuid) instead of \(known.uuid)")
                } else if !found.hasSameLayout(as: known) {
                    fail("the layout of the file system changed")
                }
            } catch {
                fail("the file system is gone: \(error)")
            }
        }
    }

    /// Looks whether bitmaps and inode tables are still where they were, and which bitmaps count now.
    func checkDescriptors(_ blocks: [Int], _ work: inout Work) {
        for index in blocks {
            withBlocks(geometry.descriptorBlock(index), as: .groupDescriptor) { bytes in
                let first = index * geometry.descriptorsPerBlock
                for group in first..<min(first + geometry.descriptorsPerBlock, geometry.groupCount) {
                    checkDescriptor(of: group, in: bytes.bytes, &work)
                }
            }
        }
    }

    private func checkDescriptor(of group: Int, in block: RawSpan, _ work: inout Work) {
        guard let found = geometry.descriptor(ofGroup: group, in: block)?.descriptor else { return }
        let known = descriptors[group]
        guard found.blockBitmap == known.blockBitmap, found.inodeBitmap == known.inodeBitmap,
            found.inodeTable == known.inodeTable
        else {
            fail("the structures of group \(group) moved")
            return
        }
        guard found.flags != known.flags else { return }
        descriptors[group] = found
        access { $0.descriptors[group] = found }
        if found.flags.contains(.blocksUninitialized) != known.flags.contains(.blocksUninitialized) {
            work.bitmapGroups.insert(group)
        }
    }

    /// Takes the block bitmap of `group` over.
    func digestBitmap(_ group: Int) {
        let blocks = geometry.blocks(ofGroup: group)
        guard !descriptors[group].flags.contains(.blocksUninitialized) else {
            let free = [UInt8](repeating: 0, count: (geometry.blockBitmapBitCount(ofGroup: group) + 7) / 8)
            return free.withUnsafeBytes { setAllocation(blocks, $0) }
        }
        guard let block = geometry.blockBitmap(descriptors[group]) else { return }
        withBlocks(block, as: .blockBitmap) { setAllocation(blocks, $0) }
    }

    /// Bits of a bitmap that are taken over while the map is held.
    private static let bitsAtOnce = 4096

    /// Takes `bitmap` over, which has a bit a block or cluster, a part of it at a time.
    private func setAllocation(_ blocks: Range<UInt64>, _ bitmap: UnsafeRawBufferPointer) {
        let blocksAtOnce = UInt64(Self.bitsAtOnce * geometry.superblock.blocksPerCluster)
        var (first, rest) = (blocks.lowerBound, bitmap[...])
        while first < blocks.upperBound, !rest.isEmpty {
            let part = first..<min(blocks.upperBound, first + blocksAtOnce)
            let bits = UnsafeRawBufferPointer(rebasing: rest.prefix(Self.bitsAtOnce / 8))
            access { fileSystem in
                fileSystem.map.setAllocation(
                    first: part.lowerBound, count: UInt64(part.count), bitmap: bits, changed: self.note)
            }
            first = part.upperBound
            rest = rest.dropFirst(Self.bitsAtOnce / 8)
        }
    }
}

extension ExtSuperblock {
    /// Whether everything that decides where structures are, and how inodes are read, is as in `other`. Counts,
    /// mount state, labels and features that come and go with use do not matter.
    fileprivate func hasSameLayout(as other: ExtSuperblock) -> Bool {
        let compatibleFeatures: ExtCompatibleFeatures = [.hasJournal, .resizeInode, .sparseSuper2]
        let incompatibleFeatures: ExtIncompatibleFeatures = [.metaGroups, .extents, .is64Bit, .checksumSeed]
        let readOnlyFeatures: ExtReadOnlyCompatibleFeatures = [
            .sparseSuper, .groupChecksums, .metadataChecksums, .bigAllocation,
        ]
        return inodeCount == other.inodeCount && blockCount == other.blockCount
            && firstDataBlock == other.firstDataBlock && blockSize == other.blockSize
            && blocksPerCluster == other.blocksPerCluster && blocksPerGroup == other.blocksPerGroup
            && inodesPerGroup == other.inodesPerGroup && inodeSize == other.inodeSize
            && firstInode == other.firstInode && descriptorSize == other.descriptorSize
            && reservedDescriptorBlocks == other.reservedDescriptorBlocks && firstMetaGroup == other.firstMetaGroup
            && multipleMountProtectionBlock == other.multipleMountProtectionBlock
            && backupGroups == other.backupGroups && journalInode == other.journalInode
            && checksumSeed == other.checksumSeed && quotaInodes == other.quotaInodes
            && orphanFileInode == other.orphanFileInode
            && compatible.intersection(compatibleFeatures) == other.compatible.intersection(compatibleFeatures)
            && incompatible.intersection(incompatibleFeatures) == other.incompatible.intersection(incompatibleFeatures)
            && readOnlyCompatible.intersection(readOnlyFeatures)
                == other.readOnlyCompatible.intersection(readOnlyFeatures)
    }
}
