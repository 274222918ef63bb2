import BlockStorage
import Datastore

/// The small WRITEs that run among names and attributes: few, for each may wait for the disk, and a thread that waits
/// answers no LOOKUP.
///
/// A heartbeat is alone in its file. Who has many small WRITEs of one file in flight is no heartbeat, and waits with
/// bulk data.
final class Heartbeats: Sendable {
    private struct Entry {
        let file: FileHandle
        let client: Int
    }

    /// Of all clients together.
    private static let most = 4
    /// Of one client.
    private static let mostOfClient = 2

    private let entries: Locked<[Entry]>

    init() {
        var entries: [Entry] = []
        entries.reserveCapacity(Self.most)
        self.entries = Locked(entries)
    }

    /// Counts a WRITE by `client` until ``end(_:)``, which comes before its answer; false when it has to wait with bulk data.
    func begin(_ file: FileHandle, by client: Int) -> Bool {
        entries.withLock { entries in
            var ofClient = 0
            for entry in entries {
                if entry.file == file { return false }
                if entry.client == client { ofClient += 1 }
            }
            guard entries.count < Self.most, ofClient < Self.mostOfClient else { return false }
            entries.append(Entry(file: file, client: client))
            return true
        }
    }

    func end(_ file: FileHandle) {
        entries.withLock { entries in
            if let index = entries.firstIndex(where: { $0.file == file }) { entries.remove(at: index) }
        }
    }
}
