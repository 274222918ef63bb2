import BlockStorage
import Datastore

/// Calls of one kind that run among names and attributes: one of a file and few of all, for each may wait, and a thread
/// that waits answers no LOOKUP.
///
/// A heartbeat is alone in its file: who has many small WRITEs of one file in flight is no heartbeat, and waits with bulk
/// data. So do changes of a file's attributes that would wait for one another.
final class FewOfAFile: Sendable {
    private struct Entry {
        let file: FileHandle
        let client: Int
    }

    private let most: Int
    private let mostOfClient: Int
    private let entries: Locked<[Entry]>

    /// - Parameters:
    ///   - most: how many of all clients together.
    ///   - mostOfClient: how many of one client.
    init(most: Int, mostOfClient: Int) {
        self.most = most
        self.mostOfClient = mostOfClient
        var entries: [Entry] = []
        entries.reserveCapacity(most)
        self.entries = Locked(entries)
    }

    /// Counts a call by `client` until ``end(_:)``, which comes before its answer; false when it has to wait with bulk data.
    func begin(_ file: FileHandle, by client: Int) -> Bool {
        entries.withLock { entries in
            var ofClient = 0
            for entry in entries {
                if entry.file == file { return false }
                if entry.client == client { ofClient += 1 }
            }
            guard entries.count < most, ofClient < mostOfClient else { return false }
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
