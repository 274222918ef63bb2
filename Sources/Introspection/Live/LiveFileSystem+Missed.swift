import BlockStorage

/// How many parts of the map may be looked at on behalf of writes of which it is not known what they wrote.
struct RecordingRoom {
    /// There is none left.
    struct Exhausted: Error {}

    var parts: Int

    mutating func take() throws(Exhausted) {
        guard parts > 0 else { throw Exhausted() }
        parts -= 1
    }
}

extension LiveFileSystem {
    /// Takes note that any of the bytes `range` of the volume may have been written since the scan began; free blocks stay
    /// free.
    ///
    /// A range may be as long as the disk. What nothing claims is gone over at once, whatever the bitmaps say of it, so that
    /// the map has as many parts as it has runs; and there is an end to these, too.
    func recordMissed(_ range: ByteRange, _ room: inout RecordingRoom) throws(RecordingRoom.Exhausted) {
        let blocks = blocks(of: range)
        written.insert(blocks)
        if journal?.copies.isEmpty == false { journal?.copies.remove(blocks) }
        var block = blocks.lowerBound
        while block < blocks.upperBound {
            try room.take()
            let (claimed, end) = map.claim(at: block, limit: blocks.upperBound)
            let piece = claimed ?? FileSystemMap.Piece(end: end, blockClass: .free)
            let part = block..<piece.end
            noteObjects(in: part, piece)
            if piece.blockClass != .journal { noteWrite(of: part, isKnown: false) }
            if piece.isFixed {
                noteAllocationWritten(in: part, piece.blockClass)
                // The digest passes over those that decide nothing.
                if Self.mayDecide(piece.blockClass) { markUndigested(part) }
                if Self.mayDecide(piece.blockClass) || piece.blockClass == .inodeBitmap { noteMetadataWritten() }
            } else if piece.pointsAtMetadata {
                noteMetadataWritten()
                markUndigested(part)
            } else if piece.blockClass == .journal {
                requestCatchUp()
            }
            block = piece.end
        }
    }
}
