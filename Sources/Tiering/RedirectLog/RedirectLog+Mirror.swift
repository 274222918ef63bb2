import BlockStorage

/// A record that one side of a mirror has and another has not.
struct LackingRecord {
    let found: LogRing.FoundRecord
    /// The side that lacks it.
    let side: Int
}

/// What keeps the sides of a mirror equal: each is to be enough when the others are gone.
///
/// Whatever one side lacks that another has whole is reported and written to it again: at the start for all that is
/// read then, for everything when a side is an older copy, and by a slow scrub for what lies there for long.
extension RedirectLog {
    /// The records that are looked at in one go.
    private static let scrubbedAtOnce = 128

    /// Looks at some more of the live records, on all sides, and repairs what one of them lacks; starts anew after the
    /// last. What is found is among the notes.
    ///
    /// - Throws: when a side cannot be repaired.
    public func scrub() throws(StorageError) {
        let (regions, last) = monitor.withLock { (state.failure == nil ? state.index.allRegions : [], state.scrubbed) }
        let next = regions.filter { ($0.image, $0.range.end) > last }.min()
        guard let next else { return monitor.withLock { state.scrubbed = (0, 0) } }
        let (redirects, image) = monitor.withLock {
            (state.index.redirects(in: next), state.identities[Int(next.image)])
        }
        let some = redirects.filter { next.image > last.image || $0.range.offset >= last.offset }
            .prefix(Self.scrubbedAtOnce)
        for redirect in some { try scrub(redirect, image) }
        let end = some.count < Self.scrubbedAtOnce ? next.range.end : some.last?.range.end ?? next.range.end
        monitor.withLock { state.scrubbed = (next.image, end) }
    }

    /// Looks at everything that is live; before anybody else knows the log.
    ///
    /// - Parameter whole: the sides that are no older copies, which are asked first.
    /// - Throws: also when a record cannot be read anywhere because a device fails: a side that may lack it still must not
    ///   count as whole (invariant 11).
    func repairAll(whole: [Int]? = nil) throws(StorageError) {
        for region in state.index.regionsInOrder {
            let image = state.identities[Int(region.image)]
            for redirect in state.index.redirects(in: region) {
                var found = try find(redirect, image, on: whole)
                if found == nil, whole != nil { found = try find(redirect, image) }
                try repair(redirect, image, found)
            }
        }
    }

    private func scrub(_ redirect: RedirectIndex.Redirect, _ image: ImageIdentity) throws(StorageError) {
        try repair(redirect, image, (try? find(redirect, image)) ?? nil)
    }

    private func find(
        _ redirect: RedirectIndex.Redirect, _ image: ImageIdentity, on sides: [Int]? = nil
    ) throws(StorageError) -> LogRing.FoundRecord? {
        try ring.record(at: redirect.position, on: sides) { $0.isWrite(of: redirect, of: image) }
    }

    private func repair(
        _ redirect: RedirectIndex.Redirect, _ image: ImageIdentity, _ found: LogRing.FoundRecord?
    ) throws(StorageError) {
        guard let found else { return noteLoss(of: redirect, image) }
        for side in ring.sidesLacking(found) {
            try repair(LackingRecord(found: found, side: side), of: redirect, image)
        }
    }

    /// A record that no side has is found again when it is read; here it is said once.
    ///
    /// The log need not fail for it: the rest is good, and a write over it ends it.
    private func noteLoss(of redirect: RedirectIndex.Redirect, _ image: ImageIdentity) {
        guard self.redirects(of: image, in: redirect.range).contains(redirect) else { return }
        let offset = geometry.ringStart + redirect.position % geometry.ringSize
        monitor.withLock {
            guard state.damaged.insert(redirect.position).inserted else { return }
            let bytes = "\(redirect.range.length) bytes of an image cannot be read"
            state.notes.append("\(ring.name): the record at \(offset) is damaged: \(bytes)")
        }
    }

    /// Repairs a record that is live: as long as this has the turn to write, its space is not used again.
    private func repair(
        _ lacking: LackingRecord, of redirect: RedirectIndex.Redirect, _ image: ImageIdentity
    ) throws(StorageError) {
        monitor.withLock {
            while state.isCommitting { monitor.wait() }
            state.isCommitting = true
        }
        defer {
            monitor.withLock {
                state.isCommitting = false
                monitor.broadcast()
            }
        }
        guard redirects(of: image, in: redirect.range).contains(redirect) else { return }
        try repair([lacking])
    }

    /// Writes records to the sides that lack them, durably; nothing else is written meanwhile.
    func repair(_ lacking: [LackingRecord]) throws(StorageError) {
        for (side, device) in ring.sides.enumerated() {
            let records = lacking.filter { $0.side == side }
            guard !records.isEmpty else { continue }
            for record in records { try ring.write(record.found, to: side) }
            try device.flush()
            let bytes = records.reduce(0) { $0 + $1.found.record.size }
            monitor.withLock {
                state.notes.append(
                    """
                    \(device.name): \(records.count) records, \(bytes) bytes, were damaged or missing, and are repaired from the \
                    other side of the mirror
                    """)
            }
        }
    }
}

extension LogRing {
    /// The sides that do not have a record as it was found on another.
    func sidesLacking(_ found: FoundRecord) -> [Int] {
        sides.indices.filter { $0 != found.side && !has(found, on: $0) }
    }

    private func has(_ found: FoundRecord, on side: Int) -> Bool {
        let ring = LogRing(sides: [sides[side]], geometry: geometry)
        let other = try? ring.record(at: found.record.position) { record in
            record.epoch == found.record.epoch && record.payloadChecksum == found.record.payloadChecksum
                && record.length == found.record.length
        }
        return other.map { $0.payload == found.payload } ?? false
    }

    /// Writes a record to a side, in whole blocks, with what else that side has in them.
    func write(_ found: FoundRecord, to side: Int) throws(StorageError) {
        let start = found.record.position / geometry.blockSize * geometry.blockSize
        let block = AlignedBuffer(count: geometry.roundedUp(found.record.position + found.record.size) - start)
        let source = (try? read(into: block.bytes, at: start, side: side)) == nil ? found.side : side
        if source != side { try read(into: block.bytes, at: start, side: source) }
        let place = found.record.position - start
        let payload = place + LogRecord.headerSize
        found.record.write(to: UnsafeMutableRawBufferPointer(rebasing: block.bytes[place..<payload]))
        UnsafeMutableRawBufferPointer(rebasing: block.bytes[payload..<payload + found.record.length])
            .copyBytes(from: found.payload)
        let ring = LogRing(sides: [sides[side]], geometry: geometry)
        try ring.write(UnsafeRawBufferPointer(block.bytes), at: start)
    }
}
