/// What tells a file's external modification (another program has written it) from the server's own writes.
///
/// The file is looked at while no write of ours is under way: before the first of a group of writes that overlap in time,
/// and whenever it is read. What it looked like after the last of the group before is what it must look like. A program
/// that writes between the first and the last of one group is not found: nothing then tells its writes from ours.
struct ExternalChanges {
    /// A change that was found.
    struct Change: Equatable {
        fileprivate let number: UInt64
        /// Whether the contents were changed: size or time of modification are others. The time of change alone may have
        /// been moved by a change of attributes, or by a program that sets the time of modification back.
        let isCertain: Bool
    }

    private var known: WeakCacheConsistency.Attributes
    private var count: UInt64 = 0
    /// The last that was found, until what was known of the contents is forgotten.
    private(set) var pending: Change?

    /// Of a file that looks like `known` and of which nothing else is known yet.
    init(_ known: WeakCacheConsistency.Attributes) { self.known = known }

    /// Whether the file looks as it did, and nothing is pending.
    func isAsKnown(_ now: WeakCacheConsistency.Attributes) -> Bool { pending == nil && known == now }

    /// Takes note of what the file looks like while no write of ours is under way.
    mutating func look(_ now: WeakCacheConsistency.Attributes) {
        defer { known = now }
        guard known != now else { return }
        count += 1
        let isCertain = !known.hasSameContents(as: now) || pending?.isCertain == true
        pending = Change(number: count, isCertain: isCertain)
    }

    /// Takes note of what the last of our writes has left.
    mutating func noteOwn(_ now: WeakCacheConsistency.Attributes) { known = now }

    /// Takes note that the file got or lost a name by our doing, which moves the time of change.
    mutating func noteNameChange(_ now: WeakCacheConsistency.Attributes) {
        guard known.hasSameContents(as: now) else { return }
        known = now
    }

    /// What was known of the contents before `change` is forgotten.
    mutating func end(_ change: Change) {
        if pending == change { pending = nil }
    }
}
