/// What reclamation needs to know of when blocks were written: for each block the last commit that had been seen when
/// its last write arrived.
///
/// A block that a guest freed may be punched only when its bit is clear in the effective bitmap of a transaction two or
/// more after that commit: the next one may be committing as the write arrives, and the write may belong to the one
/// after it.
///
/// What is not noted counts as written at ``floor``. So there is always room: when there is none for another run, the
/// floor is raised to the last commit and everything noted is forgotten, which makes every block *just written*. That
/// delays reclamation by two commits, and never lets a block be punched too early. The same is done whenever it is not
/// known which commits were seen: at the start, and when the journal was lost.
struct CommittedWrites: Sendable {
    /// The most runs that are noted: 64 KiB.
    static let runLimit = 4096

    /// Blocks that are not noted count as written when this commit was the last; nil while no commit can be relied on:
    /// then no block may be punched.
    private(set) var floor: UInt32?
    /// Tagged with the last commit that had been seen.
    private var writes = BlockRunSet()
    /// Whether no block may be punched any more, whatever is committed.
    private(set) var isFrozen = false
    /// How often everything was forgotten for want of room.
    private(set) var evictions = 0

    var runCount: Int { writes.runCount }
    var memoryBytes: Int { writes.memoryBytes }

    /// Takes note that `range` was written, with `commit` the last that has been seen; nil when that is not known.
    mutating func insert(_ range: Range<UInt64>, commit: UInt32?) {
        guard !isFrozen else { return }
        guard let commit else { return forgetAll() }
        guard let floor else {
            self.floor = commit
            return
        }
        // What was last written when the floor's commit was the last is not worth an entry.
        if commit == floor { return writes.isEmpty ? () : writes.remove(range) }
        writes.insert(range, tag: commit)
        guard writes.runCount > Self.runLimit else { return }
        writes = BlockRunSet()
        self.floor = commit
        evictions += 1
    }

    /// Takes every block for just written, whenever the next commit is seen.
    mutating func forgetAll() {
        floor = nil
        if !writes.isEmpty { writes = BlockRunSet() }
    }

    /// Lets no block be punched any more: something changed the file system that is not in its journal.
    mutating func freeze() {
        forgetAll()
        isFrozen = true
    }

    /// Begins anew: every block counts as written when `commit` was the last.
    mutating func begin(commit: UInt32) {
        if floor == nil, !isFrozen { floor = commit }
    }

    /// Calls `body` with the parts of `range` that were last written two commits or more before `commit`, in order.
    func forEachSettled(in range: Range<UInt64>, at commit: UInt32, _ body: (Range<UInt64>) -> Void) {
        guard let floor else { return }
        let floorIsSettled = Self.isSettled(floor, at: commit)
        var next = range.lowerBound
        writes.forEach(in: range) { part, tag in
            if floorIsSettled, next < part.lowerBound { body(next..<part.lowerBound) }
            if Self.isSettled(tag, at: commit) { body(part) }
            next = part.upperBound
        }
        if floorIsSettled, next < range.upperBound { body(next..<range.upperBound) }
    }

    /// Whether `commit` is `written` + 2 or later; numbers wrap round.
    private static func isSettled(_ written: UInt32, at commit: UInt32) -> Bool {
        !commit.isBefore(written &+ 2)
    }
}
