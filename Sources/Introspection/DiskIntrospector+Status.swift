import BlockStorage

extension DiskIntrospector {
    /// What is known now. Goes through the whole map, some milliseconds for a large disk, without holding it up.
    public var status: IntrospectionStatus {
        let classTotals = totals
        return state.withLock { state in
            IntrospectionStatus(
                state: state.summary, fileSystems: state.fileSystems.map { state.status(of: $0) },
                totals: classTotals, pendingBytes: classTotals[.pending],
                deferred: state.deferredBytes,
                followedJournals: state.fileSystems.count { $0.journal.map { $0.follower.position != .lost } ?? false },
                undigestedBlocks: state.fileSystems.reduce(0) { $0 + Int($1.undigested.blockCount) },
                mapMemoryBytes: state.memoryBytes, staleReason: state.staleReason)
        }
    }
}

extension DiskIntrospector {
    /// How much of the disk is of each class.
    ///
    /// Volumes are gone through in their own order: on the disk a striped one has as many pieces as it has stripes.
    private var totals: ClassTotals {
        var totals = ClassTotals()
        let known = state.withLock { state in
            state.index.map { (index: $0, numbers: state.fileSystemOfVolume, generation: state.generation) }
        }
        guard let known else {
            totals[.unknown] = diskSize
            return totals
        }
        func add(_ range: ByteRange, of number: Int?) {
            if let number { count(range, ofFileSystem: number, generation: known.generation, in: &totals) }
        }
        known.index.forEachEntry { range, content in
            switch content {
            case .structure(let kind): totals[BlockClass(kind)] += range.length
            case .volume(let volume, let shift?):
                add(ByteRange(offset: range.offset - shift, length: range.length), of: known.numbers[volume])
            case .volume, .nothing: break
            }
        }
        for (volume, number) in zip(known.index.volumes, known.numbers) where number != nil {
            for range in volume.map.stripedRanges { add(range, of: number) }
        }
        let rest = diskSize - totals.entries.reduce(0) { $0 + $1.bytes }
        totals[.unknown] += max(0, rest)
        return totals
    }

    /// Parts of a map that are counted while it is held.
    private static let partsAtOnce = 256

    /// Adds `range` of the volume of a file system to `totals`; ends early when another map comes into service.
    private func count(
        _ range: ByteRange, ofFileSystem number: Int, generation: Int, in totals: inout ClassTotals
    ) {
        var next = range.offset
        while next < range.end {
            let rest = ByteRange(offset: next, length: range.end - next)
            next = state.withLock { state in
                guard state.generation == generation else { return range.end }
                return state.fileSystems[number].count(rest, parts: Self.partsAtOnce, in: &totals)
            }
        }
    }
}

extension LiveFileSystem {
    /// Adds the bytes of `range` of the volume to `totals`, as far as they are in the file system and in `parts` of its
    /// map; returns where to go on. What bitmaps say is counted, whatever runs there are.
    func count(_ range: ByteRange, parts: Int, in totals: inout ClassTotals) -> Int {
        let blocks = blocks(of: range)
        var (block, offset) = (blocks.lowerBound, range.offset)
        for _ in 0..<parts {
            guard block < blocks.upperBound else { return range.end }
            let claim = map.claim(at: block, limit: min(blocks.upperBound, block + FileSystemMap.longestStep))
            let bytes = ByteRange(offset: offset, length: min(Int(claim.end) * map.blockSize, range.end) - offset)
            if claim.blockClass == .free {
                let data = allocatedBytes(of: bytes, in: block..<claim.end)
                totals[.data] += data
                totals[.free] += bytes.length - data
            } else {
                totals[claim.blockClass] += bytes.length
            }
            (block, offset) = (claim.end, bytes.end)
        }
        return offset
    }

    /// Bytes of `range` that the bitmaps call allocated; `blocks` are those that it reaches into.
    private func allocatedBytes(of range: ByteRange, in blocks: Range<UInt64>) -> Int {
        let (allocation, size) = (map.allocation, map.blockSize)
        var bytes = Int(allocation.allocatedCount(in: blocks)) * size
        // The first and the last may be in the range in part.
        if allocation.isAllocated(blocks.lowerBound) { bytes -= range.offset - Int(blocks.lowerBound) * size }
        if allocation.isAllocated(blocks.upperBound - 1) { bytes -= Int(blocks.upperBound) * size - range.end }
        return bytes
    }
}

extension IntrospectorState {
    fileprivate var summary: IntrospectionStatus.State {
        guard index != nil else { return .notScanned }
        guard isRecognised else { return .unrecognised }
        return staleReason == nil ? .current : .stale
    }

    fileprivate var deferredBytes: DeferredBytes {
        fileSystems.reduce(into: DeferredBytes()) { sum, fileSystem in
            let (blocks, size) = (fileSystem.map.deferred, fileSystem.map.blockSize)
            sum.claimed += Int(blocks.claimed) * size
            sum.data += Int(blocks.data) * size
            sum.aged += Int(blocks.aged) * size
            sum.forgotten += Int(blocks.forgotten) * size
        }
    }

    fileprivate func status(of fileSystem: LiveFileSystem) -> FileSystemStatus {
        FileSystemStatus(volume: index?.volumes[fileSystem.volume].name ?? "", fileSystem.geometry.superblock)
    }
}
