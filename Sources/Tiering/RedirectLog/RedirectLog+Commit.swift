import BlockStorage

extension RedirectLog {
    /// Makes what is in the open commit durable.
    func commitOpen() throws(StorageError) {
        try commit(through: monitor.withLock { state.open.isEmpty ? state.openNumber - 1 : state.openNumber })
    }

    /// Waits until the commit `number` is durable, and writes what is to be written if nobody else does.
    func commit(through number: Int) throws(StorageError) {
        while let batch = try takeTurn(for: number) {
            var failure: StorageError?
            do throws(StorageError) {
                try ring.write(batch.bytes, at: batch.start)
                try ring.flush()
            } catch {
                failure = error
            }
            let isCheckpointDue = monitor.withLock { finish(batch, failure) }
            if isCheckpointDue { writeCheckpoint() }
        }
    }

    /// Closes the open commit for the caller to write; nil when the commit `number` is durable.
    ///
    /// A failing log starts no commit more. The one under way may still be acknowledged: whoever has the log fail waits
    /// for it.
    private func takeTurn(for number: Int) throws(StorageError) -> LogBatch? {
        try monitor.withLock { () throws(StorageError) in
            while state.isCommitting, state.durableNumber < number,
                state.failure == nil || number < state.openNumber
            {
                monitor.wait()
            }
            if state.durableNumber >= number { return nil }
            if let failure = state.failure { throw failure }
            let batch = state.open
            state.isCommitting = true
            state.open = state.spare ?? LogBatch(capacity: geometry.batchSize)
            state.spare = nil
            state.openNumber += 1
            close(batch)
            return batch
        }
    }

    func close(_ batch: LogBatch) {
        batch.close(at: state.head, after: state.lastEnd, epoch: state.superblock.epoch, geometry: geometry)
        state.head += batch.count
        state.lastEnd = batch.end
    }

    /// Lets a commit that is durable take effect, or one that failed count as in doubt.
    ///
    /// - Returns: whether a checkpoint is due; then the caller has the turn still, to write it.
    private func finish(_ batch: LogBatch, _ failure: StorageError?) -> Bool {
        endTurn()
        if let failure {
            for entry in batch.entries where entry.record.kind == .write {
                guard let image = entry.record.image else { continue }
                let number = state.number(of: image)
                state.inDoubt.insert(image: number, entry.record.range, position: entry.record.position)
            }
            state.failure = state.failure ?? failure
            return false
        }
        for entry in batch.entries {
            state.apply(entry.record, settled: entry.settled)
        }
        state.durableNumber = state.openNumber - 1
        batch.reset()
        state.spare = batch
        // One that the log fails at meanwhile is not needed any more.
        state.isCommitting = state.failure == nil && isCheckpointDue
        return state.isCommitting
    }

    func endTurn() {
        state.isCommitting = false
        state.durableHead = state.head
        monitor.broadcast()
    }
}

extension RedirectLog.State {
    func hasRedirect(_ range: ByteRange, of image: ImageIdentity) -> Bool {
        guard let number = numbers[image] else { return false }
        return index.hasRedirect(image: number, range) || inDoubt.hasRedirect(image: number, range)
    }

    /// The number of an image in the index.
    mutating func number(of image: ImageIdentity) -> UInt32 {
        if let number = numbers[image] { return number }
        let number = UInt32(identities.count)
        identities.append(image)
        numbers[image] = number
        return number
    }

    /// Lets a record take effect; those of one log in the order of their positions.
    mutating func apply(_ record: LogRecord, settled: [ByteRange]) {
        guard let image = record.image else { return }
        let number = number(of: image)
        switch record.kind {
        case .write: index.insert(image: number, record.range, position: record.position)
        case .settlement:
            for range in settled {
                index.remove(image: number, range, before: record.horizon)
            }
        case .relocation:
            for redirect in index.redirects(image: number, record.range) where redirect.position == record.horizon {
                index.insert(image: number, redirect.range, position: record.position)
            }
        case .checkpoint, .checkpointEnd: break
        }
    }

    // MARK: Space

    /// The start of the oldest segment that has a live record; that of the durable head's when none has.
    mutating func oldestLive(_ geometry: LogGeometry) -> Int {
        let end = durableHead / geometry.segmentSize
        oldestSegment = index.firstLiveSegment(from: oldestSegment, to: end)
        return oldestSegment * geometry.segmentSize
    }

    /// From here on nothing of the ring may be written over.
    mutating func reusableFrom(_ geometry: LogGeometry) -> Int {
        min(oldestLive(geometry), superblock.checkpoint ?? 0)
    }

    /// Whether a record of `size` bytes fits: one of a client's leaves room for two checkpoints and for settlements.
    mutating func hasSpace(for size: Int, isWrite: Bool, _ geometry: LogGeometry) -> Bool {
        var end = head + geometry.roundedUp(open.count + size) + geometry.blockSize
        if isWrite {
            guard index.count < geometry.maximumExtents else { return false }
            let extents = index.count + 2 * open.entries.count
            end += 2 * geometry.checkpointSize(extents: extents, images: identities.count) + geometry.ringSize / 32
        }
        return end <= reusableFrom(geometry) + geometry.ringSize
    }
}
