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
            guard let number else { return }
            forEachClass(ofFileSystem: number, generation: known.generation, in: range) { totals[$1] += $0.length }
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

    /// Calls `body` with runs that cover `range` of the volume of a file system, a few of them under the lock at a time;
    /// ends early when another map comes into service.
    private func forEachClass(
        ofFileSystem number: Int, generation: Int, in range: ByteRange, _ body: (ByteRange, BlockClass) -> Void
    ) {
        withUnsafeTemporaryAllocation(of: ClassRun.self, capacity: Self.batchSize) { buffer in
            var rest = range
            while !rest.isEmpty {
                var collector = RunCollector(buffer)
                state.withLock { state in
                    guard state.generation == generation else { return }
                    try? state.fileSystems[number].collect(
                        rest, writing: nil, diskOffset: rest.offset, into: &collector)
                }
                for run in collector.runs { body(run.range, run.blockClass) }
                guard let end = collector.runs.last?.range.end else { return }
                rest = ByteRange(offset: end, length: rest.end - end)
            }
        }
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
