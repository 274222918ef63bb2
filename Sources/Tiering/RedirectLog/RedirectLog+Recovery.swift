import BlockStorage

extension LogRing.FoundRecord {
    /// The 64-bit words of the payload.
    fileprivate var words: [Int]? {
        payload.withUnsafeBytes { bytes in
            var words: [Int] = []
            for offset in stride(from: 0, to: bytes.count / 8 * 8, by: 8) {
                guard let word = Int(exactly: bytes.littleEndian(at: offset, as: UInt64.self)) else { return nil }
                words.append(word)
            }
            return words
        }
    }
}

extension RedirectLog {
    /// Builds the index from checkpoint and records, and starts a new epoch where they end.
    ///
    /// Called once, before anybody else knows the log.
    ///
    /// - Parameters:
    ///   - stale: the sides of a mirror that are older copies: what they lack is found and repaired, all of it.
    ///   - isEverywhere: whether the superblock is on all devices already, in both copies.
    func recover(stale: Set<Int>, isEverywhere: Bool) throws(StorageError) {
        let reader = LogRing(sides: ring.sides.map(ReadAheadDevice.init), geometry: geometry)
        let whole = ring.sides.indices.filter { !stale.contains($0) }
        var position = state.superblock.checkpoint ?? 0
        var lacking: [LackingRecord] = []
        if state.superblock.checkpoint != nil { position = try loadCheckpoint(at: position, reader, whole, &lacking) }
        let first = position
        // A mirror's sides may differ in the last commit, if it was never acknowledged.
        var lastCommit: [LogRing.FoundRecord] = []
        while position - first <= geometry.ringSize, let found = try nextRecord(at: position, reader, whole) {
            position = found.record.position + found.record.size
            try apply(found)
            guard ring.sides.count > 1 else { continue }
            lacking += reader.sidesLacking(found).map { LackingRecord(found: found, side: $0) }
            if lastCommit.first?.record.precedingEnd != found.record.precedingEnd { lastCommit = [] }
            lastCommit.append(found)
        }
        state.head = geometry.roundedUp(position)
        guard state.head >= state.superblock.epochStart, try !hasCommit(after: position) else {
            throw damage(at: position, "records that were acknowledged are missing")
        }
        guard LogGeometry.position(UInt64(state.head + geometry.ringSize)) != nil,
            state.superblock.generation + 1 < LogSuperblock.largestGeneration
        else { throw damage(at: position, "no log counts so far") }
        state.durableHead = state.head
        state.lastEnd = position
        state.oldestSegment =
            max(0, state.head - geometry.ringSize + geometry.segmentSize - 1) / geometry.segmentSize
        let lastStart = lastCommit.first?.record.position ?? .max
        try repair(lacking.filter { $0.found.record.position < lastStart })
        try writeAgain(lastCommit)
        if !stale.isEmpty { try repairAll(whole: whole) }
        // No device may be two generations behind another but an older copy of it: however often a start is cut off here, all
        // have this one before any gets the next (invariant 11). In the first form one copy is all there is of it.
        if !isEverywhere, state.superblock.place != nil { try ring.complete(state.superblock) }
        var superblock = state.superblock
        superblock.generation += 1
        superblock.epoch = superblock.generation
        // Exactly here: of a commit that was cut off one side of a mirror may have more, in the very same block.
        superblock.epochStart = position
        superblock.place = ring.places.first
        try ring.write(superblock)
        state.superblock = superblock
    }

    /// Writes the records of a commit to all sides, durably.
    private func writeAgain(_ commit: [LogRing.FoundRecord]) throws(StorageError) {
        guard let first = commit.first else { return }
        let start = geometry.roundedUp(first.record.precedingEnd)
        guard start <= first.record.position, state.head - start <= geometry.ringSize else {
            throw damage(at: first.record.position, "a commit makes no sense")
        }
        let block = AlignedBuffer(count: state.head - start)
        for found in commit {
            let place = found.record.position - start
            let payload = place + LogRecord.headerSize
            found.record.write(to: UnsafeMutableRawBufferPointer(rebasing: block.bytes[place..<payload]))
            UnsafeMutableRawBufferPointer(rebasing: block.bytes[payload..<payload + found.record.length])
                .copyBytes(from: found.payload)
        }
        try ring.write(UnsafeRawBufferPointer(block.bytes), at: start)
        try ring.flush()
    }

    /// Loads the checkpoint at `position`, which a superblock says is complete; returns where it ends.
    private func loadCheckpoint(
        at position: Int, _ reader: LogRing, _ whole: [Int], _ lacking: inout [LackingRecord]
    ) throws(StorageError) -> Int {
        var position = position
        while true {
            guard let found = try nextRecord(at: position, reader, whole) else {
                throw damage(at: position, "a part of the checkpoint is missing")
            }
            if ring.sides.count > 1 {
                lacking += reader.sidesLacking(found).map { LackingRecord(found: found, side: $0) }
            }
            position = found.record.position + found.record.size
            switch found.record.kind {
            case .checkpointEnd: return position
            case .checkpoint: try load(found)
            case .write, .settlement, .relocation: throw damage(at: position, "a record stands inside the checkpoint")
            }
        }
    }

    private func load(_ found: LogRing.FoundRecord) throws(StorageError) {
        guard let image = found.record.image, let words = found.words else {
            throw damage(at: found.record.position, "the checkpoint makes no sense")
        }
        let number = state.number(of: image)
        for start in stride(from: 0, to: words.count / 3 * 3, by: 3) {
            let position = words[start + 2]
            guard let range = range(words[start], words[start + 1]), range.length <= geometry.longestRecord,
                (found.record.position - geometry.ringSize..<found.record.position).contains(position)
            else {
                throw damage(at: found.record.position, "the checkpoint makes no sense")
            }
            state.index.insert(image: number, range, position: position)
        }
    }

    /// Lets a record take effect. A checkpoint that no superblock points to says nothing new.
    private func apply(_ found: LogRing.FoundRecord) throws(StorageError) {
        var settled: [ByteRange] = []
        if found.record.kind == .settlement {
            guard let words = found.words else {
                throw damage(at: found.record.position, "a settlement makes no sense")
            }
            settled = stride(from: 0, to: words.count / 2 * 2, by: 2).compactMap { range(words[$0], words[$0 + 1]) }
        }
        state.apply(found.record, settled: settled)
    }

    private func range(_ offset: Int, _ length: Int) -> ByteRange? {
        ByteRange(checkedOffset: UInt64(offset), length: UInt64(length))
    }

    /// The record that follows one that ended at `position`: right there, or at the next block.
    ///
    /// Of a mirror the sides that are whole are asked first: an older copy may have, right there, what was cut off once and
    /// never counted, or what was there before the log was made.
    private func nextRecord(
        at position: Int, _ reader: LogRing, _ whole: [Int]
    ) throws(StorageError) -> LogRing.FoundRecord? {
        if let found = try nextRecord(at: position, reader, on: whole) { return found }
        guard whole.count < reader.sides.count else { return nil }
        return try nextRecord(at: position, reader, on: Array(reader.sides.indices))
    }

    private func nextRecord(
        at position: Int, _ reader: LogRing, on sides: [Int]
    ) throws(StorageError) -> LogRing.FoundRecord? {
        if let found = try record(at: position, reader, sides) { return found }
        let block = geometry.roundedUp(position)
        guard block != position, let found = try record(at: block, reader, sides), found.record.precedingEnd == position
        else { return nil }
        return found
    }

    /// The valid record at `position`, in an epoch that may be there; nil when there is none.
    ///
    /// The epochs of a log begin with a number of its own: what another has left behind is in none of them.
    private func record(
        at position: Int, _ reader: LogRing, _ sides: [Int]
    ) throws(StorageError) -> LogRing.FoundRecord? {
        let superblock = state.superblock
        let first = min(LogSuperblock.firstGeneration(of: identity), superblock.epoch)
        return try reader.record(at: position, on: sides) {
            position < superblock.epochStart
                ? (first...superblock.epoch).contains($0.epoch) : $0.epoch == superblock.epoch
        }
    }

    /// Whether a commit stands behind `position`, which proves that what should stand there was acknowledged.
    private func hasCommit(after position: Int) throws(StorageError) -> Bool {
        let start = geometry.roundedUp(position)
        let window = AlignedBuffer(count: geometry.batchSize + geometry.blockSize)
        for side in ring.sides.indices {
            try ring.read(into: window.bytes, at: start, side: side)
            for offset in stride(from: 0, to: window.count, by: geometry.blockSize) {
                guard let record = LogRecord(UnsafeRawBufferPointer(rebasing: window.bytes[offset...])),
                    record.position == start + offset, record.epoch == state.superblock.epoch
                else { continue }
                if record.precedingEnd > position { return true }
            }
        }
        return false
    }

    private func damage(at position: Int, _ cause: String) -> StorageError {
        let offset = geometry.ringStart + position % geometry.ringSize
        return StorageError(
            .damaged, operation: "recover the redirect log: \(cause)", device: ring.name,
            range: ByteRange(offset: offset, length: geometry.blockSize))
    }
}
