import BlockStorage

/// Reads blocks of a file system as its last committed transaction left them: from the journal, where the copy there
/// has not been written in place yet. A digest reads from one thread.
struct NewestReader: ClassifiedReader, @unchecked Sendable {
    private static let magic: [UInt8] = [0xC0, 0x3B, 0x39, 0x98]
    /// How often a read is made again because what it reads moved meanwhile.
    private static let attempts = 3

    let volume: VolumeReader
    let blockSize: Int
    /// Nil without a journal.
    let log: JournalLog?
    let access: ExtDigest.Access

    var size: Int { volume.size }

    func read(
        _ range: ByteRange, as blockClass: BlockClass, into buffer: UnsafeMutableRawBufferPointer
    ) throws(StorageError) {
        for _ in 0..<Self.attempts {
            try volume.read(range, as: blockClass, into: buffer)
            guard let log else { return }
            let copies = copies(of: range)
            for copy in copies {
                guard let block = log.block(at: copy.index) else { continue }
                let start = Int(copy.home) * blockSize - range.offset
                let target = UnsafeMutableRawBufferPointer(rebasing: buffer[start..<start + blockSize])
                let place = ByteRange(offset: Int(block) * blockSize, length: blockSize)
                try volume.read(place, as: .journal, into: target)
                if copy.isEscaped { target.copyBytes(from: Self.magic) }
            }
            // A block that was written in place meanwhile may have lost its copy in the log.
            if copies.isEmpty || copies == self.copies(of: range) { return }
        }
    }

    /// The copies of blocks that lie in `range` as a whole.
    private func copies(of range: ByteRange) -> [JournalCopies.Copy] {
        let blocks = UInt64((range.offset + blockSize - 1) / blockSize)..<UInt64(range.end / blockSize)
        var copies: [JournalCopies.Copy] = []
        access { copies = $0.journal?.copies.copies(in: blocks) ?? [] }
        return copies
    }
}
