import BlockStorage

/// What keeps images that cannot be destaged from filling the log: one block of such an image pins all of the ring that
/// was written after it.
///
/// Their records are written again at the head, from where a full ring would be freed: a record that is only moved says
/// so, and takes effect where its bytes are live still, so that whatever clients write meanwhile stays the newest
/// (invariant 3). Each pass moves a bounded part of the ring, and nothing when such images have half of it: then there is
/// no room for others, whose writes go to the images.
extension Destager {
    /// Half of the ring is kept free for writers.
    private static let keptShare = 2
    /// The part of the ring that one pass moves at most.
    private static let movedShare = 16

    /// Moves the oldest records of images that could not be destaged, when the log is half full.
    func clean() throws(StorageError) {
        let geometry = log.geometry
        let (numbers, bytes, isFull, limit) = log.monitor.withLock {
            let numbers = log.state.destageFailures.keys.compactMap { log.state.numbers[$0] }
            let bytes = numbers.reduce(0) { $0 + (log.state.index.byteCounts[$1] ?? 0) }
            let limit = log.state.durableHead - geometry.ringSize / Self.keptShare
            return (numbers, bytes, log.state.oldestLive(geometry) < limit, limit)
        }
        guard isFull, !numbers.isEmpty, bytes < geometry.ringSize / Self.keptShare else { return }
        let regions = log.monitor.withLock { log.state.index.allRegions }.filter { numbers.contains($0.image) }
        var oldest: [(redirect: RedirectIndex.Redirect, number: UInt32)] = []
        for region in regions {
            let redirects = log.monitor.withLock { log.state.index.redirects(in: region) }
            oldest += redirects.filter { $0.position < limit }.map { ($0, region.image) }
        }
        var moved = 0
        for (redirect, number) in oldest.sorted(by: { $0.redirect.position < $1.redirect.position }) {
            guard moved < geometry.ringSize / Self.movedShare else { break }
            let image = log.monitor.withLock { log.state.identities[Int(number)] }
            guard try log.relocate(redirect, of: image) else { break }
            moved += redirect.range.length
        }
        try log.commitOpen()
    }
}

extension RedirectLog {
    /// Has the next commit move a redirect to the head of the log; false when there is no room.
    ///
    /// - Throws: when the log fails. What cannot be read stays where it is.
    func relocate(_ redirect: RedirectIndex.Redirect, of image: ImageIdentity) throws(StorageError) -> Bool {
        let buffer = AlignedBuffer(count: redirect.range.length)
        guard (try? read(redirect, of: image, into: buffer.bytes)) == true else { return true }
        let bytes = UnsafeRawBufferPointer(buffer.bytes)
        var record = LogRecord(.relocation, image: image)
        record.offset = redirect.range.offset
        record.length = bytes.count
        record.horizon = redirect.position
        record.payloadChecksum = CRC32C.checksum(bytes)
        while true {
            let isAdded: Bool? = try monitor.withLock { () throws(StorageError) in
                if let failure = state.failure { throw failure }
                guard state.open.hasRoom(for: record.size) else { return nil }
                guard state.hasSpace(for: record.size, isWrite: true, geometry) else { return false }
                state.open.append(record, payload: bytes)
                return true
            }
            if let isAdded { return isAdded }
            try commitOpen()
        }
    }
}
