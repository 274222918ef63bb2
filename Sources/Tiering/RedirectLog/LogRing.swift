import BlockStorage

/// The log's device: positions, which only grow, laid round and round over the ring, and the superblocks before it.
struct LogRing: Sendable {
    let device: any BlockDevice
    let geometry: LogGeometry

    /// Fills `buffer` with what stands at `position`.
    func read(into buffer: UnsafeMutableRawBufferPointer, at position: Int) throws(StorageError) {
        var done = 0
        while done < buffer.count {
            let (offset, count) = part(at: position + done, of: buffer.count - done)
            let target = UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + count])
            try device.read(into: target, at: offset)
            done += count
        }
    }

    /// Writes `bytes` to `position`, in two parts where the ring ends between.
    func write(_ bytes: UnsafeRawBufferPointer, at position: Int) throws(StorageError) {
        var done = 0
        while done < bytes.count {
            let (offset, count) = part(at: position + done, of: bytes.count - done)
            try device.write(UnsafeRawBufferPointer(rebasing: bytes[done..<done + count]), at: offset)
            done += count
        }
    }

    /// Writes a superblock over the older of the two and makes it durable.
    func write(_ superblock: LogSuperblock) throws(StorageError) {
        let block = AlignedBuffer(count: superblock.blockSize)
        superblock.write(to: block.bytes)
        let slot = superblock.generation.isMultiple(of: 2) ? 0 : 1
        try device.write(UnsafeRawBufferPointer(block.bytes), at: slot * superblock.blockSize)
        try device.flush()
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
