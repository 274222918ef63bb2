import BlockStorage

/// The log's devices: positions, which only grow, laid round and round over the ring, and the superblocks before it.
///
/// A mirrored log has several sides with the same contents: what is written is written to all, and counts as durable
/// when it is so on all; what is read is read from one, and from another when a checksum is wrong.
struct LogRing: Sendable {
    let sides: [any BlockDevice]
    let geometry: LogGeometry

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

    /// Writes a superblock over the older of the two, on all sides, and makes it durable.
    func write(_ superblock: LogSuperblock) throws(StorageError) {
        let block = AlignedBuffer(count: superblock.blockSize)
        superblock.write(to: block.bytes)
        let slot = superblock.generation.isMultiple(of: 2) ? 0 : 1
        for side in sides {
            try side.write(UnsafeRawBufferPointer(block.bytes), at: slot * superblock.blockSize)
        }
        try flush()
    }

    /// The valid superblock with the highest generation; nil when there is none: not a log.
    static func superblock(of device: some BlockDevice) throws(StorageError) -> LogSuperblock? {
        var best: LogSuperblock?
        // The second copy stands one block after the first, and only a superblock tells how large a block is.
        var offset = 512
        var offsets = [0]
        while offset <= LogGeometry.defaultBlockSize {
            offsets.append(offset)
            offset *= 2
        }
        for offset in offsets where offset + 512 <= device.size {
            let bytes = try device.read(ByteRange(offset: offset, length: 512))
            guard let found = bytes.withUnsafeBytes({ LogSuperblock($0) }),
                offset == 0 || offset == found.blockSize
            else { continue }
            if found.generation > best?.generation ?? 0 { best = found }
        }
        return best
    }

    private func part(at position: Int, of count: Int) -> (offset: Int, count: Int) {
        let inRing = position % geometry.ringSize
        return (geometry.ringStart + inRing, min(count, geometry.ringSize - inRing))
    }
}
