import BlockStorage

/// The memory that class maps take beyond what their images are worth, over all images (invariant 8).
///
/// An image may say in a few MiB what takes a map of tens of MiB, and a scan allows it to, for such file systems are real:
/// large, new and empty. But a tenant may have many. What a map takes of an image that holds real data is far less than a
/// quarter of what is stored of it; what goes beyond that comes out of one budget for all.
final class MapMemory: Sendable {
    /// In bytes.
    static let budget = 128 << 20

    private let taken = Locked(0)

    /// What a map of `mapBytes` takes out of the budget, of an image that takes `storedBytes` on the server.
    static func share(ofMap mapBytes: Int, storedBytes: Int) -> Int {
        max(0, mapBytes - storedBytes / 4)
    }

    /// Makes a share of `old` bytes one of `new`, unless there is no room for that; returns whether there was.
    func change(from old: Int, to new: Int) -> Bool {
        taken.withLock { taken in
            guard new <= old || taken - old + new <= Self.budget else { return false }
            taken += new - old
            return true
        }
    }
}
