import CLinux

/// The order in which a thread takes what it holds: from the lowest rank to the highest, none twice.
///
/// What comes first are claims: turns, and places among the writes of a file, under which a thread may wait for I/O. What
/// follows are locks: under them nothing waits for I/O, or for other calls to end. In a build without optimisation,
/// taking one out of order, or waiting under a lock, ends the program with a message; otherwise nothing is kept and
/// nothing checked.
public enum LockRank: Int, Sendable {
    /// The turn of an operation on one or two directories.
    case directoryTurn = 1
    /// The turn of an operation on the attributes of a file.
    case fileTurn
    /// The turn of whoever attaches the redirect log, takes it away, or empties it after it has failed.
    case administration
    /// A place among the writes under way on a file.
    case write
    /// The table of open files.
    case openFiles
    /// What is under way on one file.
    case ranges
    /// One file's state.
    case file
    /// An image's work that is due.
    case session
    /// A part of the page cache.
    case cache
    /// What may have a leaf taken under it.
    case branch
    /// All others.
    case leaf

    /// Takes note that the calling thread is about to take a lock or claim of this rank.
    @inlinable @inline(__always)
    public static func willLock(_ rank: LockRank) {
        #if DEBUG
            HeldRanks.push(rank)
        #endif
    }

    /// Takes note that the calling thread has given up a lock or claim of this rank.
    @inlinable @inline(__always)
    public static func didUnlock(_ rank: LockRank) {
        #if DEBUG
            HeldRanks.pop(rank)
        #endif
    }

    /// Takes note that the calling thread lends a claim of this rank, and may take others meanwhile; returns whether it has
    /// one, for ``resume(_:_:)``.
    @inlinable @inline(__always)
    public static func suspend(_ rank: LockRank) -> Bool {
        #if DEBUG
            return HeldRanks.suspend(rank)
        #else
            return false
        #endif
    }

    /// Ends what ``suspend(_:)`` began.
    @inlinable @inline(__always)
    public static func resume(_ rank: LockRank, _ wasHeld: Bool) {
        if wasHeld { willLock(rank) }
    }

    /// The calling thread is about to wait for I/O or for other calls to end: it must hold no lock but `own`, which it
    /// gives up for as long as it waits.
    @inlinable @inline(__always)
    public static func willWait(for what: StaticString, holding own: LockRank? = nil) {
        #if DEBUG
            HeldRanks.checkWait(for: what, own)
        #endif
    }
}

#if DEBUG
    /// The ranks that a thread holds, a bit for each, in a value of the thread's own.
    @usableFromInline enum HeldRanks {
        /// All that are locks.
        private static let locks: UInt = ~(bit(.openFiles) - 1)

        private static var held: UInt {
            get { linux_thread_number() }
            set { linux_set_thread_number(newValue) }
        }

        private static func bit(_ rank: LockRank) -> UInt { 1 &<< UInt(rank.rawValue) }

        @usableFromInline static func push(_ rank: LockRank) {
            let held = held
            guard held < bit(rank) else {
                fatalError("lock order: \(rank) is taken under \(String(held, radix: 2)), which comes after it")
            }
            self.held = held | bit(rank)
        }

        @usableFromInline static func pop(_ rank: LockRank) {
            held &= ~bit(rank)
        }

        @usableFromInline static func suspend(_ rank: LockRank) -> Bool {
            defer { pop(rank) }
            return held & bit(rank) != 0
        }

        @usableFromInline static func checkWait(for what: StaticString, _ own: LockRank?) {
            guard held & locks & ~(own.map(bit) ?? 0) == 0 else {
                fatalError("lock order: waits for \(what) under \(String(held, radix: 2))")
            }
        }
    }
#endif
