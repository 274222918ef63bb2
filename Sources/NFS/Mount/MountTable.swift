import BlockStorage

/// Who mounted what, as far as clients say so: for DUMP and people, nothing depends on it.
///
/// Clients that go away without UMNT leave entries behind, so that the oldest go when there are too many.
final class MountTable: Sendable {
    struct Entry: Hashable {
        let host: String
        let directory: [UInt8]
    }

    private static let capacity = 1024
    private let entries = Locked<[Entry]>([])

    func add(_ entry: Entry) {
        entries.withLock { entries in
            entries.removeAll { $0 == entry }
            if entries.count == Self.capacity {
                entries.removeFirst()
            }
            entries.append(entry)
        }
    }

    func remove(_ entry: Entry) {
        entries.withLock { $0.removeAll { $0 == entry } }
    }

    func removeAll(of host: String) {
        entries.withLock { $0.removeAll { $0.host == host } }
    }

    /// About what DUMP says of the entries, in bytes.
    var mostReplyBytes: Int {
        entries.withLock { $0.reduce(16) { $0 + 24 + $1.host.utf8.count + $1.directory.count } }
    }

    /// The entries, oldest first.
    var all: [Entry] { entries.withLock { $0 } }
}
