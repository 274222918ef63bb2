import BlockStorage
import Glibc
import Logging
import Synchronization
import TestTools
import Testing

@testable import Datastore

/// Reads in the background give way to clients that wait for the disk, and end nevertheless.
@Suite(.serialized)
struct BackgroundWorkTests {
    @Test func aReadWaitsUntilTheClientHasItsBytesAndNoLongerThanItMust() {
        let clock = ContinuousClock()
        let work = BackgroundWork()
        defer { work.end() }
        #expect(clock.measure { work.yieldToReaders() } < .milliseconds(50))
        // A client that waits for ever does not hold it for ever.
        let held = work.whileReadWaits { clock.measure { work.yieldToReaders() } }
        #expect(held >= .milliseconds(50))
        let isWaiting = Atomic(false)
        let hasEnded = Atomic(false)
        concurrently(threads: 2) { thread in
            if thread == 0 {
                work.whileReadWaits {
                    isWaiting.store(true, ordering: .releasing)
                    usleep(10_000)
                    hasEnded.store(true, ordering: .releasing)
                }
            } else {
                while !isWaiting.load(ordering: .acquiring) { sched_yield() }
                let waited = clock.measure { work.yieldToReaders() }
                #expect(hasEnded.load(ordering: .acquiring) || waited >= .milliseconds(50))
            }
        }
    }

    /// What is read ahead of a stream waits for those who read other files, not for the stream's own reader.
    @Test func readAheadGivesWayToReadersOfOtherFiles() throws {
        let clock = ContinuousClock()
        let test = try TestDatastore()
        let work = test.datastore.files.background
        let stream = try test.datastore.openFile(try test.createFile("stream"))
        let other = try test.datastore.openFile(try test.createFile("other"))
        let besideItself = work.whileReadWaits(for: stream) {
            clock.measure { work.yieldToOthers(than: stream) }
        }
        #expect(besideItself < .milliseconds(50))
        let besideAnother = work.whileReadWaits(for: other) {
            clock.measure { work.yieldToOthers(than: stream) }
        }
        #expect(besideAnother >= .milliseconds(50))
        let besideCommit = work.whileWriteWaits(for: other) { clock.measure { work.yieldToOthers(than: stream) } }
        #expect(besideCommit >= .milliseconds(50))
        // A scan does not wait for writes, of which there may be no end.
        let scanBesideCommit = work.whileWriteWaits(for: other) { clock.measure { work.yieldToReaders() } }
        #expect(scanBesideCommit < .milliseconds(50))
        #expect(other.waitingCalls.load(ordering: .relaxed) == 0)
        #expect(stream.waitingCalls.load(ordering: .relaxed) == 0)
    }

    /// A scan makes one read after the other for most of what it needs; each gives way while a client waits.
    @Test func aScanGivesWayReadByRead() throws {
        try withTemporaryDirectory { directory in
            let export = "\(directory)/export"
            try runTool("mkdir", [export])
            try runTool("mke2fs", ["-q", "-F", "-t", "ext4", "\(export)/disk.img", "32M"])
            let alone = try scanDuration(of: directory, whileClientWaits: false)
            let held = try scanDuration(of: directory, whileClientWaits: true)
            #expect(held >= .milliseconds(200))
            #expect(held > alone)
        }
    }

    private func scanDuration(of directory: String, whileClientWaits: Bool) throws -> Duration {
        var configuration = DatastoreConfiguration(
            exports: [.init(path: "\(directory)/export")], stateDirectory: "\(directory)/state")
        configuration.cacheSize = 4 << 20
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        let datastore = try Datastore(configuration: configuration, logger: logger)
        defer { datastore.close() }
        func scan() {
            datastore.openImages()
            for _ in 0..<10_000 where datastore.files.sessions.first?.lastScan == nil { usleep(1000) }
        }
        if whileClientWaits {
            datastore.files.background.whileReadWaits { scan() }
        } else {
            scan()
        }
        return try #require(datastore.files.sessions.first?.lastScan).duration
    }
}
