import BlockStorage
import Glibc
import NIOCore
import Synchronization
import TestTools

@testable import Datastore
@testable import Introspection

/// Reads and writes an image of its own all the time, and notes how long each call takes at most.
final class PoliteTenant: Sendable {
    private static let pause: useconds_t = 500
    private static let imageSize = 64 << 20

    private let datastore: Datastore
    private let root: DatastoreHandle
    private let name: FileName
    private let handle: DatastoreHandle
    private let isStopped = Atomic(false)
    private let longest = Mutex<(wait: Duration, call: String)>((.zero, ""))
    private let pool = IOPool(name: "polite", threadCount: 3)

    /// Waits until the image is known, and begins.
    init(_ datastore: Datastore, _ root: DatastoreHandle, _ name: FileName) throws {
        (self.datastore, self.root, self.name) = (datastore, root, name)
        handle = try datastore.lookup(root, name, as: .root).handle
        try read(at: 0)
        for _ in 0..<600 where datastore.files.file(for: handle)?.isCached != true { usleep(20_000) }
        guard datastore.files.file(for: handle)?.isCached == true else {
            throw ToolFailure(description: "the polite image was not scanned")
        }
        for number in 0..<3 { pool.submit { self.run(number) } }
    }

    func stop() {
        isStopped.store(true, ordering: .relaxed)
        pool.shutDown()
    }

    /// The longest wait since the last call, and what for.
    func takeLongest() -> (Duration, String) {
        longest.withLock { longest in
            defer { longest = (.zero, "") }
            return longest
        }
    }

    private func run(_ number: Int) {
        var random = SplitMix64(seed: UInt64(number))
        while !isStopped.load(ordering: .relaxed) {
            let offset = Int.random(in: 0..<Self.imageSize / 4096, using: &random) * 4096
            switch number {
            case 0: measure("READ") { try self.read(at: offset) }
            case 1: measure("WRITE") { try self.write(at: Self.imageSize / 2 + offset / 2 & ~4095) }
            default: measure("LOOKUP") { _ = try self.datastore.lookup(self.root, self.name, as: .root) }
            }
            usleep(Self.pause)
        }
    }

    private func measure(_ call: String, _ body: () throws -> Void) {
        let wait = ContinuousClock().measure {
            do { try body() } catch { note(.seconds(1000), "\(call): \(error)") }
        }
        note(wait, call)
    }

    private func note(_ wait: Duration, _ call: String) {
        longest.withLock { if wait > $0.wait { $0 = (wait, call) } }
    }

    private func read(at offset: Int) throws {
        var buffer = ByteBuffer()
        _ = try datastore.read(handle, offset: UInt64(offset), count: 4096, as: .root, into: &buffer)
    }

    private func write(at offset: Int) throws {
        _ = try datastore.write(
            handle, offset: UInt64(offset), bytes: ByteBuffer(repeating: 7, count: 4096), stability: .fileSync,
            as: .root)
    }
}
