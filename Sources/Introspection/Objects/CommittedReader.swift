import BlockStorage

/// Reads a virtual disk as the last committed transactions of its file systems left it: a block whose newest copy is
/// still in a journal, from there.
struct CommittedReader: ClassifiedReader {
    private static let magic: [UInt8] = [0xC0, 0x3B, 0x39, 0x98]
    /// How often a read is made again because what it reads moved meanwhile.
    private static let attempts = 3

    /// A block in a journal that is read instead of the one in place.
    struct Copy: Hashable, Sendable {
        /// Where it belongs, in bytes of the disk.
        var home: Int
        /// Where it is.
        var place: ByteRange
        /// Whether its first four bytes are to be replaced by the journal's magic number.
        var isEscaped: Bool
    }

    let disk: any ClassifiedReader
    let introspector: DiskIntrospector

    var size: Int { disk.size }

    func read(
        _ range: ByteRange, as blockClass: BlockClass, into buffer: UnsafeMutableRawBufferPointer
    ) throws(StorageError) {
        for _ in 0..<Self.attempts {
            try disk.read(range, as: blockClass, into: buffer)
            let copies = introspector.journalCopies(in: range)
            for copy in copies {
                let start = copy.home - range.offset
                let target = UnsafeMutableRawBufferPointer(rebasing: buffer[start..<start + copy.place.length])
                try disk.read(copy.place, as: .journal, into: target)
                if copy.isEscaped { target.copyBytes(from: Self.magic) }
            }
            // A block that was written in place meanwhile may have lost its copy in the journal.
            if copies.isEmpty || copies == introspector.journalCopies(in: range) { return }
        }
    }
}

extension DiskIntrospector {
    /// The copies in journals of blocks that lie in `range` of the disk as a whole.
    fileprivate func journalCopies(in range: ByteRange) -> [CommittedReader.Copy] {
        state.withLock { state in
            var copies: [CommittedReader.Copy] = []
            guard let index = state.index else { return copies }
            index.forEachPart(of: range) { part, content in
                guard case .volume(let volume, _) = content, let number = state.fileSystemOfVolume[volume],
                    let journal = state.fileSystems[number].journal, !journal.copies.isEmpty
                else { return }
                let map = index.volumes[volume].map
                let blockSize = state.fileSystems[number].map.blockSize
                map.forEachVolumeRange(ofDisk: part) { volumeRange, diskOffset in
                    let first = UInt64((volumeRange.offset + blockSize - 1) / blockSize)
                    let end = UInt64(volumeRange.end / blockSize)
                    guard first < end else { return }
                    for copy in journal.copies.copies(in: first..<end) {
                        guard let block = journal.log.block(at: copy.index) else { continue }
                        let bytes = ByteRange(offset: Int(block) * blockSize, length: blockSize)
                        map.forEachDiskRange(of: bytes) { place, volumeOffset in
                            let home = Int(copy.home) * blockSize - volumeRange.offset + diskOffset
                            copies.append(
                                CommittedReader.Copy(
                                    home: home + volumeOffset - bytes.offset, place: place,
                                    isEscaped: copy.isEscaped && volumeOffset == bytes.offset))
                        }
                    }
                }
            }
            return copies
        }
    }
}
