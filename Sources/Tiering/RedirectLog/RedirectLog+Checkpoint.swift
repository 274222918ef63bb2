import BlockStorage

extension RedirectLog {
    /// Checkpoints are written when so much of the ring has been written since the last.
    private static let checkpointShare = 16

    /// Whether a checkpoint is due: recovery would have much to read, or it is all that keeps space from being used.
    var isCheckpointDue: Bool {
        let since = state.head - (state.superblock.checkpoint ?? 0)
        if since > geometry.ringSize / Self.checkpointShare { return true }
        return since > 0 && !state.hasSpace(for: geometry.batchSize, isWrite: true, geometry)
            && state.oldestLive(geometry) > state.superblock.checkpoint ?? 0
    }

    /// Makes a checkpoint durable, then the superblock that points to it; a failure fails the log, and no commit.
    ///
    /// The caller has the turn to write, and this ends it: until then the index does not change, so that it is put into
    /// records, of megabytes perhaps, while others go on.
    func writeCheckpoint() {
        let (batch, reserved) = beginCheckpoint()
        guard reserved else { return monitor.withLock { endTurn() } }
        var superblock = monitor.withLock { state.superblock }
        superblock.generation += 1
        superblock.checkpoint = batch.start
        var failure: StorageError?
        do throws(StorageError) {
            try ring.write(batch.bytes, at: batch.start)
            try ring.flush()
            try ring.write(superblock)
        } catch {
            failure = error
        }
        monitor.withLock {
            if let failure {
                state.failure = state.failure ?? failure
            } else {
                state.superblock = superblock
            }
            endTurn()
        }
    }

    /// Puts the index into a commit of its own; returns whether there is space for it.
    private func beginCheckpoint() -> (batch: LogBatch, isReserved: Bool) {
        let (index, identities) = monitor.withLock { (state.index, state.identities) }
        let batch = index.checkpoint(identities, geometry)
        return monitor.withLock {
            let isReserved = state.hasSpace(for: batch.count, isWrite: false, geometry)
            if isReserved { close(batch) }
            return (batch, isReserved)
        }
    }
}

extension LogGeometry {
    static let bytesPerEntry = 24
    static let entriesPerRecord = 1 << 15

    /// What a checkpoint takes at most, in bytes.
    func checkpointSize(extents: Int, images: Int) -> Int {
        let records = images + 2 + (extents + 2) / Self.entriesPerRecord
        return roundedUp((extents + 2) * Self.bytesPerEntry + records * 2 * LogRecord.headerSize)
    }
}

extension RedirectIndex {
    /// The index as the records of one commit, in the order of images and offsets.
    ///
    /// - Parameter identities: those of the images, by their numbers.
    func checkpoint(_ identities: [ImageIdentity], _ geometry: LogGeometry) -> LogBatch {
        LockRank.willWait(for: "the records of a checkpoint")
        let batch = LogBatch(capacity: geometry.checkpointSize(extents: count, images: identities.count))
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
        for region in regionsInOrder {
            if region.image != image { flush() }
            image = region.image
            for redirect in redirects(in: region) {
                if entries.count >= 3 * LogGeometry.entriesPerRecord { flush() }
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
