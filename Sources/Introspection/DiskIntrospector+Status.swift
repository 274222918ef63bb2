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
    /// The memory that the class map takes, in bytes; see ``IntrospectionStatus/mapMemoryBytes``.
    public var mapMemoryBytes: Int { state.withLock { $0.memoryBytes } }

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
            if let number { addTotals(of: range, inFileSystem: number, generation: known.generation, to: &totals) }
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

    /// Steps that are taken under the lock at a time.
    private static let stepsAtOnce = 64

    /// Adds what `range` of the volume of a file system holds to `totals`; ends early when another map comes into service.
    private func addTotals(
        of range: ByteRange, inFileSystem number: Int, generation: Int, to totals: inout ClassTotals
    ) {
        var next = range.offset
        while next < range.end {
            let rest = ByteRange(offset: next, length: range.end - next)
            next = state.withLock { state in
                guard state.generation == generation else { return range.end }
                return state.fileSystems[number].addTotals(of: rest, steps: Self.stepsAtOnce, to: &totals)
            }
        }
    }
}

extension LiveFileSystem {
    /// Adds the bytes of each class in the first part of `range` of the volume to `totals`; returns where that ends.
    func addTotals(of range: ByteRange, steps: Int, to totals: inout ClassTotals) -> Int {
        let (size, blocks) = (map.blockSize, blocks(of: range))
        // Structures and the ends of volumes may cut a block.
        let first = blocks.lowerBound
        let isCut = Int(first) * size < range.offset || Int(first + 1) * size > range.end
        guard !blocks.isEmpty, !isCut else {
            let end = blocks.isEmpty ? range.end : min(Int(first + 1) * size, range.end)
            totals[blocks.isEmpty ? .unknown : map.blockClass(of: first)] += end - range.offset
            return end
        }
        let whole = first..<min(blocks.upperBound, UInt64(range.end / size))
        let end = map.forEachCount(in: whole, limit: steps) { totals[$0] += Int($1) * size }
        return Int(end) * size
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
