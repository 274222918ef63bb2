import BlockStorage

/// The log's devices: positions, which only grow, laid round and round over the ring, and the superblocks before it.
///
/// A mirrored log has several sides with the same contents: what is written is written to all, and counts as durable
/// when it is so on all; what is read is read from one, and from another when a checksum is wrong.
struct LogRing: Sendable {
    let sides: [any BlockDevice]
    let geometry: LogGeometry
    /// The places of the devices that have superblocks; none when those are in the first form.
    var places: [LogPlace] = []

    /// The devices, for messages.
    var name: String { sides.map(\.name).joined(separator: " and ") }

    /// Fills `buffer` with what stands at `position` on a side.
    func read(into buffer: UnsafeMutableRawBufferPointer, at position: Int, side: Int) throws(StorageError) {
        var done = 0
        while done < buffer.count {
            let (offset, count) = part(at: position + done, of: buffer.count - done)
            let target = UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + count])
            try sides[side].read(into: target, at: offset)
            done += count
        }
    }

    /// Writes `bytes` to `position` of all sides, in two parts where the ring ends between.
    func write(_ bytes: UnsafeRawBufferPointer, at position: Int) throws(StorageError) {
        var done = 0
        while done < bytes.count {
            let (offset, count) = part(at: position + done, of: bytes.count - done)
            for side in sides {
                try side.write(UnsafeRawBufferPointer(rebasing: bytes[done..<done + count]), at: offset)
            }
            done += count
        }
    }

    /// Makes durable on all sides what was written.
    func flush() throws(StorageError) {
        for side in sides { try side.flush() }
    }

    /// The devices that have superblocks.
    static func labelled(_ side: any BlockDevice) -> [any BlockDevice] {
        guard let stripe = side as? StripedDevice else { return [side] }
        return stripe.headerSize > 0 ? stripe.devices : Array(stripe.devices.prefix(1))
    }

    /// The places of the devices that have superblocks, if `sides` are all there are.
    static func places(of sides: [any BlockDevice]) -> [LogPlace] {
        let stripe = sides.count == 1 ? sides[0] as? StripedDevice : nil
        let count = stripe?.devices.count ?? sides.count
        let layout: LogLayout = count == 1 ? .single : stripe == nil ? .mirror : .stripe
        return sides.flatMap(labelled).indices.map {
            LogPlace(layout: layout, index: $0, count: count, headerSize: stripe?.headerSize ?? 0)
        }
    }

    /// Writes a superblock to all devices, one copy after the other, each durable before the next: see
    /// ``LogSuperblock``. The first is the one that was not written last in the first form.
    func write(_ superblock: LogSuperblock) throws(StorageError) {
        let block = AlignedBuffer(count: superblock.blockSize)
        let first = superblock.generation.isMultiple(of: 2) ? 0 : 1
        for slot in [first, 1 - first] {
            for (index, device) in sides.flatMap(Self.labelled).enumerated() {
                try write(superblock, to: device, index, slot, block)
            }
            try flush()
        }
    }

    /// Writes the newest superblock to all copies that are others, one on each device that has none before any gets the
    /// second. A copy that is good is not touched.
    func complete(_ superblock: LogSuperblock) throws(StorageError) {
        let block = AlignedBuffer(count: superblock.blockSize)
        for needed in 1...2 {
            for (index, device) in sides.flatMap(Self.labelled).enumerated() {
                let copies = try SuperblockCopies(of: device).copies
                let good = copies.filter { $0.superblock?.generation == superblock.generation }.map(\.offset)
                guard good.count < needed else { continue }
                try write(superblock, to: device, index, good.first == 0 ? 1 : 0, block)
            }
            try flush()
        }
    }

    private func write(
        _ superblock: LogSuperblock, to device: any BlockDevice, _ index: Int, _ slot: Int, _ block: AlignedBuffer
    ) throws(StorageError) {
        var superblock = superblock
        superblock.place = places.indices.contains(index) ? places[index] : nil
        superblock.write(to: block.bytes)
        try device.write(UnsafeRawBufferPointer(block.bytes), at: slot * superblock.blockSize)
    }

    private func part(at position: Int, of count: Int) -> (offset: Int, count: Int) {
        let inRing = position % geometry.ringSize
        return (geometry.ringStart + inRing, min(count, geometry.ringSize - inRing))
    }
}
