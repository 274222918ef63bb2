import BlockStorage

extension RedirectLog {
    /// Checkpoints are written when so much of the ring has been written since the last.
    private static let checkpointShare = 16

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
            let checkpoint = monitor.withLock { finish(batch, failure) }
            if let checkpoint { write(checkpoint) }
        }
    }

    /// Closes the open commit for the caller to write; nil when the commit `number` is durable.
    private func takeTurn(for number: Int) throws(StorageError) -> LogBatch? {
        try monitor.withLock { () throws(StorageError) in
            while state.isCommitting, state.durableNumber < number, state.failure == nil {
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

    private func close(_ batch: LogBatch) {
        batch.close(at: state.head, after: state.lastEnd, epoch: state.superblock.epoch, geometry: geometry)
        state.head += batch.count
        state.lastEnd = batch.end
    }

    /// Lets a commit that is durable take effect, or one that failed count as in doubt; returns the checkpoint that is
    /// due, for the caller to write.
    private func finish(_ batch: LogBatch, _ failure: StorageError?) -> LogBatch? {
        endTurn()
        if let failure {
            for entry in batch.entries where entry.record.kind == .write {
                guard let image = entry.record.image else { continue }
                let number = state.number(of: image)
                state.inDoubt.insert(image: number, entry.record.range, position: entry.record.position)
            }
            state.failure = failure
            return nil
        }
        for entry in batch.entries {
            state.apply(entry.record, settled: entry.settled)
        }
        state.durableNumber = state.openNumber - 1
        batch.reset()
        state.spare = batch
        guard isCheckpointDue else { return nil }
        return beginCheckpoint()
    }

    /// Whether a checkpoint is due: recovery would have much to read, or it is all that keeps space from being used.
    private var isCheckpointDue: Bool {
        let since = state.head - (state.superblock.checkpoint ?? 0)
        if since > geometry.ringSize / Self.checkpointShare { return true }
        return since > 0 && !state.hasSpace(for: geometry.batchSize, isWrite: true, geometry)
            && state.oldestLive(geometry) > state.superblock.checkpoint ?? 0
    }

    // MARK: Checkpoints

    /// Puts the index into a commit of its own, in the order of the log; the caller has the turn to write.
    private func beginCheckpoint() -> LogBatch? {
        let batch = state.checkpoint(geometry)
        guard state.hasSpace(for: batch.count, isWrite: false, geometry) else { return nil }
        state.isCommitting = true
        close(batch)
        return batch
    }

    /// Makes a checkpoint durable, then the superblock that points to it; a failure fails the log, and no commit.
    private func write(_ checkpoint: LogBatch) {
        var superblock = monitor.withLock { state.superblock }
        superblock.generation += 1
        superblock.checkpoint = checkpoint.start
        var failure: StorageError?
        do throws(StorageError) {
            try ring.write(checkpoint.bytes, at: checkpoint.start)
            try ring.flush()
            try ring.write(superblock)
        } catch {
            failure = error
        }
        monitor.withLock {
            if failure == nil { state.superblock = superblock }
            state.failure = failure
            endTurn()
        }
    }

    private func endTurn() {
        state.isCommitting = false
        state.durableHead = state.head
        monitor.broadcast()
    }
}

extension RedirectLog.State {
    private static let bytesPerEntry = 24
    private static let entriesPerRecord = 1 << 15

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
            end += 2 * checkpointSize(geometry) + geometry.ringSize / 32
        }
        return end <= reusableFrom(geometry) + geometry.ringSize
    }

    /// What a checkpoint takes at most, in bytes, when the open commit has taken effect.
    private func checkpointSize(_ geometry: LogGeometry) -> Int {
        let extents = index.count + 2 * open.entries.count + 2
        let records = identities.count + 2 + extents / Self.entriesPerRecord
        return geometry.roundedUp(extents * Self.bytesPerEntry + records * 2 * LogRecord.headerSize)
    }

    /// The index as the records of one commit.
    func checkpoint(_ geometry: LogGeometry) -> LogBatch {
        let batch = LogBatch(capacity: checkpointSize(geometry))
        var entries: [UInt64] = []
        var image: UInt32?
        let flush = {
            guard let image, !entries.isEmpty else { return }
            var record = LogRecord(.checkpoint, image: identities[Int(image)])
            record.length = entries.count * 8
            entries.withUnsafeBytes {
                record.payloadChecksum = CRC32C.checksum($0)
                batch.append(record, payload: $0)
            }
            entries.removeAll(keepingCapacity: true)
        }
        for region in index.regionsInOrder {
            if region.image != image { flush() }
            image = region.image
            for redirect in index.redirects(in: region) {
                if entries.count >= 3 * Self.entriesPerRecord { flush() }
                entries.append(UInt64(redirect.range.offset).littleEndian)
                entries.append(UInt64(redirect.range.length).littleEndian)
                entries.append(UInt64(redirect.position).littleEndian)
            }
        }
        flush()
        var end = LogRecord(.checkpointEnd, image: nil)
        end.payloadChecksum = CRC32C.checksum(UnsafeRawBufferPointer(start: nil, count: 0))
        batch.append(end, payload: UnsafeRawBufferPointer(start: nil, count: 0))
        return batch
    }
}
