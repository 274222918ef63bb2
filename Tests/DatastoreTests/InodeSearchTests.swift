import BlockStorage
import Glibc
import Synchronization
import TestTools
import Testing

@testable import Datastore

/// Searches for files by inode number, which take as long as the export is large.
@Suite struct InodeSearchTests {
    private func identity(_ inode: UInt64) -> InodeIdentity { InodeIdentity(inode: inode, birthTime: nil) }

    /// One walk for all who ask; whoever asks meanwhile goes away again, but one.
    @Test func asksForOneWalkAndWaitsForNone() {
        let search = InodeSearch(patience: .milliseconds(10))
        let walks = Mutex<[Set<InodeIdentity>]>([])
        let door = Monitor()
        nonisolated(unsafe) var isOpen = false
        let walk: InodeSearch.Walk = { sought, _ in
            walks.withLock { $0.append(sought) }
            door.withLock { while !isOpen { door.wait() } }
        }
        search.wait(for: identity(1), walk)
        while walks.withLock({ $0.isEmpty }) { usleep(1000) }
        // Were one of them to wait for the walk, this would not end.
        concurrently(threads: 8) { thread in
            for number in 0..<50 { search.wait(for: identity(UInt64(2 + thread * 50 + number)), walk) }
        }
        #expect(walks.withLock { $0 } == [[identity(1)]])
        door.withLock {
            isOpen = true
            door.broadcast()
        }
        while walks.withLock({ $0.count < 2 }) { usleep(1000) }
        #expect(walks.withLock { $0[1].count } == 400)
        search.stop()
        search.wait(for: identity(9), walk)
        #expect(walks.withLock { $0.count } == 2)
    }

    @Test func stoppingEndsAWalk() {
        let search = InodeSearch(patience: .milliseconds(1))
        search.wait(for: identity(1)) { _, isStopped in
            while !isStopped() { usleep(1000) }
        }
        search.stop()
    }

    /// A client that asks for files that are gone keeps nobody waiting, and is told so in the end.
    @Test func handlesOfRemovedFilesDisturbNobody() throws {
        let test = try TestDatastore(.inodeTable, searchPatience: .zero)
        let gone = try (0..<40).map { try test.createFile("gone\($0)") }
        for index in gone.indices { #expect(unlink(test.local("gone\(index)")) == 0) }
        for index in 0..<300 { #expect(mkdir(test.local("d\(index)"), 0o755) == 0) }
        var isStale = Set<Int>()
        while isStale.count < gone.count {
            for (index, handle) in gone.enumerated() where !isStale.contains(index) {
                switch failure({ try test.attributes(handle) }) {
                case .stale: isStale.insert(index)
                case .retryLater: break
                case let code: Issue.record("\(String(describing: code))")
                }
            }
            #expect(try test.lookup("d7") == test.lookup("d7"))
        }
    }
}
