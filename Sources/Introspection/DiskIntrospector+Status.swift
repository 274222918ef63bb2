import BlockStorage

extension DiskIntrospector {
    /// What is known now. Goes through the whole map, some milliseconds for a large disk, without holding it up.
    public var status: IntrospectionStatus {
        var totals = ClassTotals()
        forEachClass(in: ByteRange(offset: 0, length: diskSize)) { totals[$1] += $0.length }
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
