/// Makes some runs all that an inode owns, a few at a time: an inode may claim any number, and the map is not held for
/// longer than a step takes.
///
/// Until it is done the map knows a part of the old and a part of the new. That costs time only, as a wrong class always
/// does. Nobody else changes what inodes own meanwhile: one digest at a time does.
struct OwnedRunsUpdate {
    /// Runs that are looked at, dropped or added in a step.
    private static let runsAtOnce = 512

    private enum Phase {
        case collecting, clipping, dropping, adding, done
    }

    private let inode: UInt32
    private let digest: UInt32?
    /// What the inode claims, canonical.
    private let claimed: [MetadataRun]
    private var phase = Phase.collecting
    /// Where the next step begins in the list that it goes through.
    private var next = 0
    /// Where it is in the other list.
    private var beside = 0
    private var clippedEnd: UInt64 = 1
    private var old: [MetadataRun] = []
    private(set) var new: [MetadataRun] = []
    private var hasChanged = false
    /// What the inode once took from others and has given up, when it is done.
    private(set) var settledConflicts: [FileSystemMap.Conflict] = []

    /// - Parameters:
    ///   - runs: In any order, without shared blocks; they are cut to the file system.
    ///   - digest: The hash of the inode's roots, or nil when `runs` are the roots.
    init(of inode: UInt32, _ runs: [MetadataRun], digest: UInt32?) {
        self.inode = inode
        self.digest = digest
        claimed = FileSystemMap.canonical(runs)
    }

    /// Goes on for a while, with the map held. Returns whether it is done.
    ///
    /// - Parameter changed: Called with the ranges that may have changed their class.
    mutating func step(_ map: inout FileSystemMap, changed: (Range<UInt64>) -> Void) -> Bool {
        switch phase {
        case .collecting: collect(&map)
        case .clipping: clip(map)
        case .dropping: drop(&map, changed)
        case .adding: add(&map, changed)
        case .done: break
        }
        return phase == .done
    }

    private mutating func collect(_ map: inout FileSystemMap) {
        let found = map.runs(of: inode, after: old.last?.block ?? 0, limit: Self.runsAtOnce)
        old += found
        guard found.count < Self.runsAtOnce else { return }
        if let digest {
            map.digests.insert(FileSystemMap.RootDigest(owner: inode, digest: digest))
        } else {
            map.digests.remove(inode)
        }
        phase = .clipping
    }

    private mutating func clip(_ map: borrowing FileSystemMap) {
        let end = min(claimed.count, next + Self.runsAtOnce)
        for run in claimed[next..<end] {
            map.appendUnfixed(of: run, from: clippedEnd, inode, to: &new)
            clippedEnd = max(clippedEnd, run.end)
        }
        next = end
        if next == claimed.count { begin(.dropping) }
    }

    private mutating func begin(_ phase: Phase) {
        self.phase = phase
        (next, beside) = (0, 0)
    }

    /// Drops what is among the old and not among the new.
    private mutating func drop(_ map: inout FileSystemMap, _ changed: (Range<UInt64>) -> Void) {
        var left = Self.runsAtOnce
        while left > 0, next < old.count {
            left -= 1
            let run = old[next]
            if skips(run, in: new) { continue }
            map.dynamic.remove(run.block)
            map.owners.remove(.init(owner: inode, block: run.block))
            note(run, changed)
            next += 1
        }
        if next == old.count { begin(.adding) }
    }

    /// Adds what is among the new and not among the old.
    private mutating func add(_ map: inout FileSystemMap, _ changed: (Range<UInt64>) -> Void) {
        var left = Self.runsAtOnce
        while left > 0, next < new.count {
            left -= 1
            let run = new[next]
            if skips(run, in: old) { continue }
            guard map.takeFromOthers(run, limit: Self.runsAtOnce) else { return }
            map.dynamic.insert(FileSystemMap.DynamicRun(block: run.block, count: run.count, like: run))
            map.owners.insert(FileSystemMap.OwnerEntry(owner: inode, block: run.block))
            map.claimPending(run.block..<run.end)
            note(run, changed)
            next += 1
        }
        guard next == new.count else { return }
        if hasChanged { settledConflicts = map.takeSettledConflicts(of: inode) }
        phase = .done
    }

    /// Whether there is nothing to do for `run` in this step: it is in `others`, too, or these have to be gone through
    /// first.
    private mutating func skips(_ run: MetadataRun, in others: [MetadataRun]) -> Bool {
        guard beside < others.count, others[beside].block <= run.block else { return false }
        if others[beside] == run {
            next += 1
            beside += 1
            return true
        }
        guard others[beside].block < run.block else { return false }
        beside += 1
        return true
    }

    private mutating func note(_ run: MetadataRun, _ changed: (Range<UInt64>) -> Void) {
        hasChanged = true
        changed(run.block..<run.end)
    }
}
