import GuestFilesystems

/// The part of a journal's superblock that an input tells; the rest is zero.
private let superblockHead = 256

/// Parses the head of the input as the superblock of a journal, and its rest as a block of each kind of that journal.
func fuzzJournal(_ input: UnsafeRawBufferPointer) {
    let head = padded(input.prefix(superblockHead), to: JournalSuperblock.size)
    guard let superblock = try? JournalSuperblock(parsing: head.span.bytes) else { return }
    precondition((1..<superblock.logEnd).contains(superblock.firstBlock), "the log has no block")
    precondition(superblock.logEnd <= superblock.length, "the log ends outside the journal")
    let block = padded(input.dropFirst(superblockHead), to: superblock.blockSize)
    if let descriptor = try? JournalDescriptorBlock(parsing: block.span.bytes, in: superblock) {
        precondition(descriptor.tags.count <= block.count / superblock.tagSize, "more tags than fit")
        for tag in descriptor.tags.prefix(2) {
            _ = superblock.isIntact(block.span.bytes, tag, sequence: descriptor.sequence)
        }
    }
    if let revoke = try? JournalRevokeBlock(parsing: block.span.bytes, in: superblock) {
        precondition(revoke.blocks.count <= block.count / 4, "more revoked blocks than fit")
    }
    _ = try? JournalCommitBlock(parsing: block.span.bytes, in: superblock)
    var records = 0
    JournalFastCommitRecord.forEach(in: block.span.bytes) { record in
        if case .inode(_, let bytes) = record {
            precondition(bytes.lowerBound >= 0 && bytes.upperBound <= block.count, "an inode outside its block")
        }
        records += 1
        return true
    }
    precondition(records <= block.count / 4, "more records than fit")
}

/// As many of `bytes` as there is room for, and zeros.
private func padded(_ bytes: Slice<UnsafeRawBufferPointer>, to count: Int) -> [UInt8] {
    let bytes = bytes.prefix(count)
    return bytes + [UInt8](repeating: 0, count: count - bytes.count)
}
