import BlockStorage

/// What introspection knows of one virtual disk, and keeps knowing while the guest writes to it.
///
/// Holds no threads and calls nothing above it. Introspection is advice: nothing here fails, delays or reorders
/// an I/O, and a wrong class costs time only.
///
/// ## Keeping up
/// A recorded write leaves a note of the blocks that have to be looked at, not a copy of them; ``digest(_:)`` reads
/// them through its reader. So many writes of one inode table block cost one digest, the order in which writes are
/// recorded does not matter, and no write is held up for a copy. What does matter is that a write is recorded only
/// when its bytes can be read: a digest that comes between would miss them.
///
/// ## Threads
/// ``forEachClass(in:_:)``, ``recordWrite(_:at:)`` and ``status`` may be called by any thread at any time and do
/// no I/O. ``scan(_:parallelism:progress:isCancelled:)`` and ``digest(_:)`` block. One scan and one digest at a
/// time; a digest may run beside a scan, and keeps the old map current until the new one is installed.
public final class DiskIntrospector: Sendable {
    /// The disk's name in reports.
    public let name: String
    /// The size of the virtual disk in bytes.
    public let diskSize: Int
    let state = Locked(IntrospectorState())
    let objects = Locked(ObjectIndexes())
    /// Of those who bring the object index up to date.
    let objectTurn = UpdateTurn()

    /// Runs that are looked up at a time while the map is held: with more of them their memory would not be the stack's.
    static let batchSize = 42

    /// Knows nothing yet: every block is ``BlockClass/unknown`` until a scan is installed.
    public init(name: String, diskSize: Int) {
        precondition(diskSize >= 0)
        self.name = name
        self.diskSize = diskSize
    }

    /// Calls `body` with consecutive runs, each of one class and different from the next, that cover the part of
    /// `range` that is on the disk.
    ///
    /// The map is not held while `body` runs; a long range may therefore show changes made meanwhile.
    public func forEachClass(in range: ByteRange, _ body: (ByteRange, BlockClass) -> Void) {
        _ = forEachClass(in: range, writing: nil, turns: .max, body)
    }

    /// As ``forEachClass(in:_:)``, for as much of `range` as can be told in so many `turns` at the map: a hostile disk has
    /// no end of runs. Returns where that ends.
    public func forEachClass(in range: ByteRange, turns: Int, _ body: (ByteRange, BlockClass) -> Void) -> Int {
        forEachClass(in: range, writing: nil, turns: turns, body)
    }

    /// As ``forEachClass(in:_:)``, for what is about to be written: a block that nothing claims is told by its new
    /// contents where it can be, in file systems whose journal does not tell.
    public func forEachClass(
        ofWrite bytes: UnsafeRawBufferPointer, at offset: Int, _ body: (ByteRange, BlockClass) -> Void
    ) {
        guard offset >= 0 else { return }
        _ = forEachClass(in: ByteRange(offset: offset, length: bytes.count), writing: bytes, turns: .max, body)
    }

    private func forEachClass(
        in range: ByteRange, writing bytes: UnsafeRawBufferPointer?, turns: Int,
        _ body: (ByteRange, BlockClass) -> Void
    ) -> Int {
        guard var rest = range.intersection(ByteRange(offset: 0, length: diskSize)) else { return range.end }
        return withUnsafeTemporaryAllocation(of: ClassRun.self, capacity: Self.batchSize) { buffer in
            var last: ClassRun?
            var left = turns
            while !rest.isEmpty, left > 0 {
                left -= 1
                var collector = RunCollector(buffer)
                let start = rest.offset - range.offset
                let slice = bytes.map { UnsafeRawBufferPointer(rebasing: $0[start..<start + rest.length]) }
                state.withLock { state in
                    // A full collector is no failure: the rest comes in the next round.
                    try? state.collect(rest, writing: slice, into: &collector)
                }
                for run in collector.runs {
                    if let known = last, known.blockClass == run.blockClass {
                        let length = run.range.end - known.range.offset
                        last?.range = ByteRange(offset: known.range.offset, length: length)
                    } else {
                        if let last { body(last.range, last.blockClass) }
                        last = run
                    }
                }
                guard let end = collector.runs.last?.range.end else { break }
                rest = ByteRange(offset: end, length: rest.end - end)
            }
            if let last { body(last.range, last.blockClass) }
            return rest.isEmpty ? range.end : rest.offset
        }
    }

    /// The class of the block that holds the byte at `offset`.
    public func blockClass(at offset: Int) -> BlockClass {
        var result = BlockClass.unknown
        forEachClass(in: ByteRange(offset: offset, length: 1)) { result = $1 }
        return result
    }

    /// The parts of `range` that guests have freed for good and that may be punched, as of the last commits that were
    /// digested (invariant 7). Whoever punches holds writes to them off meanwhile.
    public func reclaimable(in range: ByteRange) -> [ByteRange] {
        state.withLock { state in
            var ranges: [ByteRange] = []
            guard let index = state.index, state.staleReason == nil else { return ranges }
            index.forEachPart(of: range) { part, content in
                guard case .volume(let volume, _) = content, let number = state.fileSystemOfVolume[volume] else {
                    return
                }
                let fileSystem = state.fileSystems[number]
                let (map, size) = (index.volumes[volume].map, fileSystem.map.blockSize)
                map.forEachVolumeRange(ofDisk: part) { bytes, _ in
                    let (first, end) = ((bytes.offset + size - 1) / size, bytes.end / size)
                    guard first < end else { return }
                    fileSystem.forEachReclaimable(in: UInt64(first)..<UInt64(end)) { free in
                        let freed = ByteRange(offset: Int(free.lowerBound) * size, length: free.count * size)
                        map.forEachDiskRange(of: freed) { range, _ in ranges.append(range) }
                    }
                }
            }
            return ranges
        }
    }

    /// Takes note of a write: to be called when its bytes can be read through the reader that ``digest(_:)`` is
    /// given, and before the write is acknowledged.
    ///
    /// The part of the write that is not on the disk is ignored.
    public func recordWrite(_ bytes: UnsafeRawBufferPointer, at diskOffset: Int) -> WriteOutcome {
        guard diskOffset >= 0, diskOffset < diskSize else { return .nothing }
        let range = ByteRange(offset: diskOffset, length: min(bytes.count, diskSize - diskOffset))
        guard !range.isEmpty else { return .nothing }
        return state.withLock { state in
            state.writtenDuringScan?.insert(range)
            let neededReview = state.needsReview
            let needsDigest = state.record(range, bytes: bytes)
            return WriteOutcome(
                needsDigest: needsDigest, needsRescan: state.needsRescan,
                needsReview: state.needsReview && !neededReview)
        }
    }
}

extension IntrospectorState {
    /// Whether the map can no longer follow and no scan is on its way: what makes the map stale during a scan makes the
    /// new one stale as well, when it is installed.
    var needsRescan: Bool { staleReason != nil && writtenDuringScan == nil }
}
