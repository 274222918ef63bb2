import Synchronization

/// How many pages metadata may keep when data wants room: moved by what either segment let go too early.
///
/// A page that is asked for soon after it went says that its segment is too small. One of metadata counts as much as
/// five of data, because it stands between a guest and its data. Metadata up to the boundary never makes room for
/// data, and between the bounds neither segment takes all.
final class CacheBoundary: Sendable {
    private static let metadataStep = 5
    private static let dataStep = 1
    /// Shares of all pages, as shifts: metadata keeps a quarter, data a sixteenth.
    static let metadataReserveShift = 2
    static let dataReserveShift = 4

    private let lowest: Int
    private let highest: Int
    private let pages: Atomic<Int>

    /// Where metadata may take all that it can, for a cache of `pageCount` pages.
    init(pageCount: Int) {
        lowest = pageCount >> Self.metadataReserveShift
        highest = pageCount - pageCount >> Self.dataReserveShift
        pages = Atomic(highest)
    }

    /// The pages that are metadata's.
    var metadataPages: Int { pages.load(ordering: .relaxed) }

    /// Takes note that a page of `segment` was asked for again after it had gone.
    func noteGhostHit(_ segment: CacheSegment) {
        let step = segment == .metadata ? Self.metadataStep : -Self.dataStep
        let old = metadataPages
        let new = min(max(old + step, lowest), highest)
        // When another thread moves it at the same time, one of the steps is lost: it is an estimate.
        if new != old { pages.store(new, ordering: .relaxed) }
    }
}
