import GuestFilesystems

/// Follows a journal as it is written: which transaction runs, what it names, and when it is committed.
///
/// Told of the blocks of the journal as they are written, in any order and in pieces; does no I/O.
///
///                  superblock: start ≠ 0                     commit block, and all before it arrived
///       ┌───────┐ ───────────────────────► ┌───────────────┐ ──────┐
///       │ empty │                          │   following   │ ◄─────┘  head moves on, the number too
///       └───────┘ ◄─────────────────────── └───────────────┘
///           ▲      superblock: start = 0      │         ▲
///           │                                 ▼         │ caught up from the superblock on,
///           │                              ┌──────┐     │ by reading
///           └───────────────────────────── │ lost │ ────┘
///                  superblock: start = 0   └──────┘
///
/// It is lost when the log does not go on as it must: a later transaction begins while one is not complete (JBD2
/// writes one after the other), a block that must be a header is none, or there is more than it may remember. A
/// journal that was lost is read from its tail again, once the guest has moved that.
struct JournalFollower: Sendable {
    /// A block's copy in the log.
    struct Copy: Hashable, Sendable {
        /// The block that it is a copy of, in the file system.
        var home: UInt64
        /// The block of the journal.
        var index: UInt32
        /// Whether the copy's first four bytes are to be replaced by the magic number.
        var isEscaped: Bool
    }

    /// A transaction that was committed.
    struct Commit: Hashable, Sendable {
        var sequence: UInt32
        /// In the order of the log: of two copies of a block the later one counts.
        var copies: [Copy] = []
        /// Blocks whose copies in this and earlier transactions do not count any more.
        var revoked: [UInt64] = []
    }

    /// What a written block turned out to be.
    enum Noted: Hashable, Sendable {
        case nothing
        /// A descriptor block of a transaction that is not committed yet.
        case tags([JournalTag])
        case commit
        case superblock
    }

    /// How far the log has been followed.
    enum Position: Hashable, Sendable {
        /// There is nothing in the log.
        case empty
        /// Everything before `head` was followed; transaction `sequence` begins there.
        case following(head: UInt32, sequence: UInt32)
        case lost
    }

    /// Where catching up has come to: the block to be read next, and the transaction that it must belong to.
    struct Cursor: Hashable, Sendable {
        var index: UInt32
        var sequence: UInt32
        /// Blocks of the log that were passed since its tail.
        var passed = 0
    }

    private enum Header: Sendable {
        case descriptor(sequence: UInt32, [JournalTag])
        case revoke(sequence: UInt32, [UInt64])
        case commit(sequence: UInt32)

        var sequence: UInt32 {
            switch self {
            case .descriptor(let sequence, _), .revoke(let sequence, _), .commit(let sequence): sequence
            }
        }
        /// Blocks of the log that it and what it names take.
        var length: Int {
            if case .descriptor(_, let tags) = self { tags.count + 1 } else { 1 }
        }
        /// How much room it takes, in tags.
        var weight: Int {
            switch self {
            case .descriptor(_, let tags): tags.count + 4
            case .revoke(_, let blocks): blocks.count / 2 + 4
            case .commit: 4
            }
        }
    }

    /// Blocks written in part that may be waited for, and blocks that may wait to be read.
    private static let partLimit = 1024

    private(set) var superblock: JournalSuperblock
    private(set) var position = Position.lost
    /// The last transaction that was seen to be committed.
    private(set) var lastCommit: UInt32?
    /// The latest commit that arrived, whether or not all before it did; nil when none has since the log was followed.
    private(set) var newestCommit: UInt32?
    /// Whether the log has to be read from its tail.
    private(set) var needsCatchUp = true
    /// Blocks that were written in pieces and have to be read.
    private(set) var unread: Set<UInt32> = []
    private var hasNotedCommit = false
    /// A bit a block of the journal: written, and not followed yet.
    private var arrived: [UInt64]
    private var headers: [UInt32: Header] = [:]
    private var weight = 0
    /// For each block of which a part was written, its sectors of 512 bytes, as bits.
    private var parts: [UInt32: UInt128] = [:]

    /// A follower of the journal with `superblock` that has to catch up first.
    init(_ superblock: JournalSuperblock) {
        self.superblock = superblock
        arrived = [UInt64](repeating: 0, count: Int(superblock.length) / 64 + 1)
    }

    /// The first transaction whose copies in the log are still needed; nil when none is.
    var firstNeeded: UInt32? { position == .empty || position == .lost ? nil : superblock.sequence }
    /// Whether there is something to read, or a commit to be taken.
    var hasWork: Bool { needsCatchUp || hasNotedCommit || !unread.isEmpty }
    /// Whether blocks were written in pieces, so that a commit may be among them that was not seen.
    var hasGaps: Bool { !unread.isEmpty || !parts.isEmpty }
    var memoryBytes: Int { arrived.capacity * 8 + weight * MemoryLayout<JournalTag>.stride + parts.count * 32 }

    /// Blocks of the log, where a transaction may be: one that is longer has come round to its own start.
    private var logLength: Int { Int(superblock.logEnd - superblock.firstBlock) }

    /// Headers and tags that may be remembered: JBD2's largest transaction takes a third of the log at most, and mke2fs
    /// makes logs of 262,144 blocks at most by itself. A tag names a block that need not have been written.
    private var weightLimit: Int { min(Int(superblock.length), 1 << 18) + 4096 }

    /// The tags of the descriptor block `index`, which is followed; none when it is something else by now.
    func tags(at index: UInt32) -> [JournalTag] {
        guard case .following = position, case .descriptor(_, let tags)? = headers[index] else { return [] }
        return tags
    }

    // MARK: Being told

    /// Takes note that block `index` of the journal was written as a whole, with `bytes`.
    mutating func note(_ index: UInt32, _ bytes: RawSpan) -> Noted {
        if !parts.isEmpty { parts.removeValue(forKey: index) }
        if !unread.isEmpty { unread.remove(index) }
        guard index > 0 else { return noteSuperblock(bytes) }
        guard index >= superblock.firstBlock, index < superblock.logEnd else { return .nothing }
        forgetHeader(index)
        arrived[Int(index / 64)] |= 1 << UInt64(index % 64)
        guard let header = JournalBlockHeader(bytes), !isPast(header.sequence),
            let found = parse(header.kind, bytes)
        else { return .nothing }
        headers[index] = found
        weight += found.weight
        guard weight <= weightLimit else {
            lose()
            return .nothing
        }
        switch found {
        case .descriptor(_, let tags):
            // In no other state is it known whether the transaction was left over from an earlier round of the log.
            guard case .following = position else { return .nothing }
            return .tags(tags)
        case .revoke: return .nothing
        case .commit(let sequence):
            hasNotedCommit = true
            if newestCommit?.isBefore(sequence) ?? true { newestCommit = sequence }
            return .commit
        }
    }

    /// Takes note that the bytes `range` of block `index` were written, which are not all of it.
    mutating func notePart(_ index: UInt32, _ range: Range<Int>) {
        guard index < superblock.logEnd else { return }
        let first = (range.lowerBound + 511) / 512
        let last = range.upperBound / 512
        guard first < last else { return }
        let sectors = superblock.blockSize / 512
        let all = UInt128.max >> UInt128(128 - sectors)
        let written = (UInt128.max >> UInt128(128 - (last - first))) << UInt128(first)
        let covered = parts[index, default: 0] | written
        guard covered & all != all else {
            parts.removeValue(forKey: index)
            unread.insert(index)
            if unread.count > Self.partLimit { lose() }
            return
        }
        parts[index] = covered
        if parts.count > Self.partLimit { lose() }
    }

    /// Has the log read from its tail: it may have been written, and it is not known what.
    mutating func requestCatchUp() {
        lose()
        needsCatchUp = true
    }

    private mutating func noteSuperblock(_ bytes: RawSpan) -> Noted {
        guard let found = try? JournalSuperblock(parsing: bytes), found.isIntact,
            found.blockSize == superblock.blockSize, found.length == superblock.length
        else {
            lose()
            return .superblock
        }
        let isSameLayout =
            found.features == superblock.features && found.logEnd == superblock.logEnd
            && found.firstBlock == superblock.firstBlock && found.checksumSeed == superblock.checksumSeed
        let isSameTail = found.start == superblock.start && found.sequence == superblock.sequence
        superblock = found
        if !isSameLayout || found.start == 0 { forgetAll() }
        if found.start == 0 {
            position = .empty
            needsCatchUp = false
            return .superblock
        }
        switch position {
        case .empty:
            position = .following(head: found.start, sequence: found.sequence)
        case .following(_, let sequence) where sequence == found.sequence:
            position = .following(head: found.start, sequence: sequence)
        case .following(_, let sequence) where sequence.isBefore(found.sequence):
            // The tail has passed what was followed.
            lose()
            needsCatchUp = true
        case .following: break
        case .lost: needsCatchUp = needsCatchUp || !isSameTail || !isSameLayout
        }
        return .superblock
    }

    private func parse(_ kind: JournalBlockHeader.Kind, _ bytes: RawSpan) -> Header? {
        switch kind {
        case .descriptor:
            guard let block = try? JournalDescriptorBlock(parsing: bytes, in: superblock), block.isIntact else {
                return nil
            }
            return .descriptor(sequence: block.sequence, block.tags)
        case .revoke:
            guard let block = try? JournalRevokeBlock(parsing: bytes, in: superblock), block.isIntact else {
                return nil
            }
            return .revoke(sequence: block.sequence, block.blocks)
        case .commit:
            guard let block = try? JournalCommitBlock(parsing: bytes, in: superblock), block.isIntact else {
                return nil
            }
            return .commit(sequence: block.sequence)
        case .superblockV1, .superblockV2: return nil
        }
    }

    // MARK: Following

    /// The next transaction that was committed; nil when none is complete.
    mutating func nextCommit() -> Commit? {
        guard case .following(let head, let sequence) = position else {
            hasNotedCommit = false
            return nil
        }
        var commit = Commit(sequence: sequence)
        var index = head
        var room = logLength
        while hasArrived(index), !unread.contains(index) {
            guard let header = headers[index], header.sequence == sequence, header.length <= room else {
                lose()
                return nil
            }
            room -= header.length
            let start = index
            index = next(index)
            switch header {
            case .descriptor(_, let tags):
                for tag in tags {
                    guard hasArrived(index) else { return blocked(sequence) }
                    commit.copies.append(Copy(home: tag.block, index: index, isEscaped: tag.isEscaped))
                    index = next(index)
                }
            case .revoke(_, let blocks): commit.revoked += blocks
            case .commit:
                forget(from: head, through: start)
                position = .following(head: index, sequence: sequence &+ 1)
                lastCommit = sequence
                return commit
            }
        }
        return blocked(sequence)
    }

    /// What there is to say when transaction `sequence` is not complete.
    private mutating func blocked(_ sequence: UInt32) -> Commit? {
        hasNotedCommit = false
        if headers.values.contains(where: { sequence.isBefore($0.sequence) }) { lose() }
        return nil
    }

    /// The block of the log after `index`.
    private func next(_ index: UInt32) -> UInt32 {
        index + 1 < superblock.logEnd ? index + 1 : superblock.firstBlock
    }

    private func hasArrived(_ index: UInt32) -> Bool {
        arrived[Int(index / 64)] >> UInt64(index % 64) & 1 == 1
    }

    /// Whether a transaction was followed already, so that its blocks are left over from an earlier round of the log.
    private func isPast(_ sequence: UInt32) -> Bool {
        guard case .following(_, let current) = position else { return false }
        return sequence.isBefore(current)
    }

    // MARK: Catching up

    /// Begins at the tail that the superblock in `bytes` names; nil when the log is empty or makes no sense.
    mutating func startCatchUp(_ bytes: RawSpan) -> Cursor? {
        needsCatchUp = false
        guard let found = try? JournalSuperblock(parsing: bytes), found.isIntact else { return nil }
        _ = noteSuperblock(bytes)
        needsCatchUp = false
        guard superblock.start != 0, position == .lost else { return nil }
        position = .following(head: superblock.start, sequence: superblock.sequence)
        for (index, header) in headers where header.sequence.isBefore(superblock.sequence) { forgetHeader(index) }
        return Cursor(index: superblock.start, sequence: superblock.sequence)
    }

    /// Takes note of the block at `cursor` as it was read; returns what to read next, or nil at the end of the log.
    mutating func catchUp(_ cursor: Cursor, _ bytes: RawSpan) -> Cursor? {
        if headers[cursor.index]?.sequence != cursor.sequence { _ = note(cursor.index, bytes) }
        guard let header = headers[cursor.index], header.sequence == cursor.sequence else {
            // Not written yet: what is there is left over.
            forget(from: cursor.index, through: cursor.index)
            return nil
        }
        var next = Cursor(
            index: next(cursor.index), sequence: cursor.sequence, passed: cursor.passed + header.length)
        guard next.passed <= logLength else {
            lose()
            return nil
        }
        switch header {
        case .descriptor(_, let tags):
            for _ in tags {
                arrived[Int(next.index / 64)] |= 1 << UInt64(next.index % 64)
                next.index = self.next(next.index)
            }
        case .revoke: break
        case .commit: next.sequence &+= 1
        }
        return next
    }

    // MARK: Forgetting

    private mutating func lose() {
        position = .lost
        forgetAll()
    }

    private mutating func forgetAll() {
        for index in arrived.indices { arrived[index] = 0 }
        headers.removeAll()
        weight = 0
        parts.removeAll()
        unread.removeAll()
        hasNotedCommit = false
        newestCommit = nil
    }

    private mutating func forgetHeader(_ index: UInt32) {
        guard !headers.isEmpty, let old = headers.removeValue(forKey: index) else { return }
        weight -= old.weight
    }

    private mutating func forget(from first: UInt32, through last: UInt32) {
        var index = first
        for _ in 0..<superblock.length {
            arrived[Int(index / 64)] &= ~(1 << UInt64(index % 64))
            forgetHeader(index)
            if index == last { return }
            index = next(index)
        }
    }
}
