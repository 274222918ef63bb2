import BlockStorage

/// There is no room to tell of more changes.
private struct ChangesAreFull: Error {}

extension DiskIntrospector {
    /// Ranges of the disk that a digest tells of.
    private static let changeLimit = 65_536

    /// Reads the metadata blocks that were written, through `reader`, and brings the map up to date. Blocks.
    ///
    /// Reads no more than 128 MiB or so in one call, whatever the guest wrote.
    public func digest(_ reader: some ClassifiedReader) -> DigestResult {
        var result = DigestResult(changes: [], hasMoreChanges: false, needsDigest: false, needsRescan: false)
        let (generation, count) = state.withLock { ($0.generation, $0.fileSystems.count) }
        for number in 0..<count {
            digest(number, generation: generation, reader, &result)
        }
        state.withLock { state in
            result.needsRescan = state.needsRescan
            result.needsReview = state.needsReview || state.fileSystems.contains(where: \.needsReview)
            result.needsDigest = state.fileSystems.contains(where: \.needsDigest)
        }
        return result
    }

    private func digest(
        _ number: Int, generation: Int, _ reader: some ClassifiedReader, _ result: inout DigestResult
    ) {
        var limits = ExtDigest.Limits()
        let inService = state.withLock { state -> (ExtDigest.Subject, DiskIndex)? in
            guard state.generation == generation, let index = state.index,
                state.fileSystems[number].needsDigest
            else { return nil }
            limits.runs = state.runLimit(ofFileSystem: number)
            return (ExtDigest.Subject(state.fileSystems[number]), index)
        }
        guard let (subject, index) = inService else { return }
        let volume = index.volumes[subject.volume]
        let digest = ExtDigest(
            subject, volume: VolumeReader(volume: volume, disk: reader), limits: limits
        ) { body in
            self.state.withLock { state in
                if state.generation == generation { body(state.fileSystems[number]) }
            }
        }
        digest.run()
        if let reason = digest.staleReason {
            state.withLock { state in
                if state.generation == generation { state.markStale("\(volume.name): \(reason)") }
            }
        }
        result.hasMoreChanges = result.hasMoreChanges || digest.hasMoreChanges
        let blockSize = subject.geometry.blockSize
        do throws(ChangesAreFull) {
            for (blocks, blockClass) in digest.changes {
                let bytes = ByteRange(offset: Int(blocks.lowerBound) * blockSize, length: blocks.count * blockSize)
                try volume.map.forEachDiskRange(of: bytes) { (diskRange, _) throws(ChangesAreFull) in
                    // In a striped volume a run is in very many places.
                    guard result.changes.count < Self.changeLimit else { throw ChangesAreFull() }
                    result.changes.append((diskRange, blockClass))
                }
            }
        } catch {
            result.hasMoreChanges = true
        }
    }
}

extension IntrospectorState {
    /// The runs of metadata that the map of a file system may come to have: what there is room for on the disk, besides
    /// those that it has.
    fileprivate func runLimit(ofFileSystem number: Int) -> Int {
        let all = fileSystems.reduce(0) { $0 + $1.map.dynamic.count }
        return fileSystems[number].map.dynamic.count + max(0, runLimit - all)
    }
}
