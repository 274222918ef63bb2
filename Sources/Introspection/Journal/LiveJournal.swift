import GuestFilesystems

/// The journal of a file system in service: what is written to it, and where newer copies of blocks are.
struct LiveJournal: Sendable {
    let log: JournalLog
    var follower: JournalFollower
    var copies = JournalCopies()
    /// Whether files' data go through the journal too, so that a tag says nothing of a block's class.
    var carriesData = false
    /// Tagged blocks of committed transactions that no structure has claimed yet.
    var unclaimed = BlockRunSet()
    /// When blocks were last written, in commits.
    var committed = CommittedWrites()
    /// Bitmaps and descriptors that transactions named since the log was empty.
    var foretold = BlockRunSet()
    /// Descriptor blocks whose tags wait for the next digest, since a write brought more than can be looked at with it.
    var unexpected: [UInt32] = []
    /// Where the next digest goes on to take tags off blocks; nil when there is nothing to take off.
    var untagsFrom: UInt64?

    init(_ scanned: ScannedJournal) {
        log = scanned.log
        follower = JournalFollower(scanned.superblock)
    }

    var memoryBytes: Int {
        log.memoryBytes + follower.memoryBytes + copies.memoryBytes + unclaimed.memoryBytes
            + committed.memoryBytes + foretold.memoryBytes
    }
}

/// What the journal tells of the file system's blocks.
extension LiveFileSystem {
    /// Tagged blocks that may wait for what claims them.
    private static let unclaimedRunLimit = 4096
    /// Tags that are looked at as a write is recorded: a descriptor block of JBD2 has some hundred, and one comes in so
    /// many blocks.
    private static let tagsAtOnce = 1024
    /// Descriptor blocks that may wait; what further ones name is found as it is in file systems without a journal.
    private static let unexpectedLimit = 4096
    /// Unclaimed blocks of one transaction that are data, from which on the guest is taken to journal its data.
    private static let journalledDataThreshold = 4

    /// Takes note of a write to the bytes `range` of the volume, which lie in `blocks` of the journal.
    ///
    /// - Returns: Whether there is something to digest for it.
    func recordJournal(_ blocks: Range<UInt64>, _ range: Range<Int>, bytes: UnsafeRawBufferPointer) -> Bool {
        guard journal != nil else {
            noteMetadataWritten()
            return false
        }
        let wasLost = journal?.follower.position == .lost
        defer { if !wasLost, journal?.follower.position == .lost { dropCopies(before: nil) } }
        var room = Self.tagsAtOnce
        for block in blocks {
            guard let index = journal?.log.index(of: block) else { continue }
            let start = Int(block) * map.blockSize
            let part = range.clamped(to: start..<start + map.blockSize)
            guard part.count == map.blockSize else {
                journal?.follower.notePart(index, part.lowerBound - start..<part.upperBound - start)
                continue
            }
            let first = part.lowerBound - range.lowerBound
            noteJournal(index, UnsafeRawBufferPointer(rebasing: bytes[first..<first + map.blockSize]), &room)
        }
        return journalNeedsDigest
    }

    /// Has the next digest read the journal from its tail: it may have been written, and it is not known what.
    func requestCatchUp() {
        guard journal != nil else { return noteMetadataWritten() }
        journal?.follower.requestCatchUp()
        dropCopies(before: nil)
    }

    /// Takes note of block `index` of the journal, of which `bytes` are the contents, and of its tags if there is `room`
    /// for them; otherwise they wait for the next digest.
    func noteJournal(_ index: UInt32, _ bytes: UnsafeRawBufferPointer, _ room: inout Int) {
        switch journal?.follower.note(index, bytes.bytes) {
        case .tags(let tags) where tags.count <= room:
            room -= tags.count
            expectMetadata(at: tags[...])
        case .tags:
            if journal?.unexpected.count ?? 0 < Self.unexpectedLimit { journal?.unexpected.append(index) }
        case .superblock:
            dropCopies(before: journal?.follower.firstNeeded)
            if journal?.follower.position == .empty { journal?.foretold = BlockRunSet() }
        case .commit, .nothing, nil: break
        }
    }

    /// Makes blocks that nothing claims and a running transaction names metadata: what is written in place later was
    /// tagged before, and data are not tagged.
    func expectMetadata(at tags: ArraySlice<JournalTag>) {
        for tag in tags { foretell(tag.block) }
        guard journal?.carriesData == false else { return }
        for tag in tags where tag.block < map.blockCount {
            var pendingTag = PendingTag.tagged
            switch map.blockClass(of: tag.block) {
            case .free, .pending: break
            case .data: pendingTag |= PendingTag.wasData
            default: continue
            }
            map.deferred.forgotten += map.setPending(tag.block..<tag.block + 1, tag: pendingTag, hand: &hand)
        }
    }

    /// Takes over what a committed transaction says of the blocks that `copies` are of.
    ///
    /// Since the follower told of it the guest may have moved the log's tail past it. Then the blocks are in place, and
    /// their copies' place in the log may have been taken by others.
    func apply(_ copies: ArraySlice<JournalFollower.Copy>, sequence: UInt32) {
        let isNeeded = journal?.follower.firstNeeded.map { !sequence.isBefore($0) } ?? false
        for copy in copies where copy.home < map.blockCount {
            guard undigested.runCount < Self.undigestedRunLimit / 2,
                !isNeeded || journal?.copies.insert(JournalCopies.Copy(copy, sequence: sequence)) == true
            else { continue }
            let block = copy.home..<copy.home + 1
            foretell(copy.home)
            written.insert(block)
            let piece = map.piece(at: copy.home, limit: copy.home + 1)
            noteObjects(in: block, piece)
            if piece.isFixed {
                _ = recordFixed(block, piece.blockClass)
            } else if piece.pointsAtMetadata {
                markUndigested(block)
            } else if piece.blockClass == .metadata, let count = journal?.unclaimed.runCount,
                count < Self.unclaimedRunLimit
            {
                journal?.unclaimed.insert(block)
            }
        }
    }

    /// Takes note that a transaction names `block`, if it says which blocks are allocated.
    private func foretell(_ block: UInt64) {
        switch map.blockClass(of: block) {
        case .blockBitmap, .groupDescriptor: journal?.foretold.insert(block..<block + 1)
        default: break
        }
    }

    /// Forgets copies of transactions before `sequence`, or all: what is in place counts again. That takes no longer
    /// however many they are: the next digest does what is to be done for each.
    func dropCopies(before sequence: UInt32?) {
        if journal?.copies.expire(before: sequence) == false { hasLostWrites = true }
        guard sequence == nil else { return }
        journal?.untagsFrom = 0
        journal?.unexpected = []
        journal?.unclaimed = BlockRunSet()
        journal?.carriesData = false
    }

    /// Does a part of what is left to do for copies and tags that do not count any more. Returns whether that was all.
    func sweepJournal() -> Bool {
        for block in journal?.copies.sweep(Self.sweptAtOnce) ?? [] { readInPlace(block) }
        if let start = journal?.untagsFrom {
            let next = map.untag(from: start, blocks: Self.sweptAtOnce)
            journal?.untagsFrom = next < map.blockCount ? next : nil
        }
        return journal?.copies.hasExpired != true && journal?.untagsFrom == nil
    }

    /// Copies and tagged blocks that are looked at while the map is held.
    private static let sweptAtOnce = 256

    /// Forgets the copies of `blocks` that belong to transaction `sequence` or an earlier one.
    func revoke(_ blocks: ArraySlice<UInt64>, sequence: UInt32) {
        for block in blocks where block < map.blockCount {
            journal?.unclaimed.remove(block..<block + 1)
            map.untag(in: block..<block + 1)
            guard let copy = journal?.copies[block], !sequence.isBefore(copy.sequence) else { continue }
            journal?.copies.remove(block..<block + 1)
            readInPlace(block)
        }
    }

    private func readInPlace(_ block: UInt64) {
        let piece = map.piece(at: block, limit: block + 1)
        noteObjects(in: block..<block + 1, piece)
        if piece.isFixed {
            _ = recordFixed(block..<block + 1, piece.blockClass)
        } else if piece.pointsAtMetadata {
            markUndigested(block..<block + 1)
        }
    }

    /// Decides on tagged blocks of transactions that have been digested as a whole. Returns how many turned out to be data
    /// that were free before.
    func settleUnclaimed(_ blocks: Range<UInt64>, changed: (Range<UInt64>) -> Void) -> Int {
        let result = map.settleTagged(in: blocks)
        result.settled.forEach(changed)
        return result.newData
    }

    /// Takes note that `count` tagged blocks turned out to be data.
    func noteJournalledData(_ count: Int) {
        if count >= Self.journalledDataThreshold { journal?.carriesData = true }
    }
}
