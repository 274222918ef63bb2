import BlockStorage
import Foundation
import Glibc
import NIOCore
import TestTools

@testable import Datastore
@testable import Tiering

/// What clients do.
extension TierSchedule {
    private static let mostFiles = 4
    private static let writers = 3
    /// Any client can make such names.
    private static let oddParts = ["\r", "\r\nlog 1", "\n", " ", "\\", "\u{301}", "ordinary"]

    func step() throws {
        switch below(100) {
        case 0..<40: for _ in 0...below(4) { try writeSomething() }
        case 40..<50: if let file = pick(present) { try check(file, "in a read") }
        case 50..<57: try load()
        case 57..<62: try renameSomething()
        case 62..<68: try removeSomething()
        case 68..<71: if present.count < Self.mostFiles { try create() }
        default: try administer()
        }
    }

    private func newName() -> String {
        nameCount += 1
        let mode = ["wb", "wb", "wt", "off"][below(4)]
        return "\(mode)\(nameCount)\(Self.oddParts[below(Self.oddParts.count)]).img"
    }

    private func root() throws -> HandleAlias? {
        try datastore?.mount(machine.export, client: .loopback)
    }

    func create() throws {
        guard let datastore, let root = try root() else { return }
        let name = newName()
        let changes = AttributeChanges(mode: 0o644, size: UInt64(Self.fileSize))
        let made: CreatedObject
        do throws(MutationFailure) {
            made = try datastore.create(root, FileName(name), .guarded(changes), as: .root)
        } catch {
            guard machine.isDead else { throw violation("a file cannot be made: \(error.error.message)") }
            return
        }
        guard !machine.isDead else { return }
        let blocks = Array(repeating: TierModel.Block(), count: Self.blockCount)
        let file = TierModel.File(handle: made.handle, inode: made.attributes.fileid, name: name, blocks: blocks)
        model.withLock { $0.files.append(file) }
        note("create file \(model.withLock { $0.files.count } - 1), \(name.debugDescription)")
    }

    // MARK: Data

    private func writeSomething() throws {
        guard let file = pick(present) else { return }
        let count = 1 + below(4)
        let first = below(Self.blockCount - count + 1)
        try write(file, first..<first + count)
    }

    /// Writes stably; a write that is refused must have a reason.
    func write(_ file: Int, _ blocks: Range<Int>) throws {
        guard let datastore, !machine.isDead else { return }
        let (stamp, handle) = model.withLock { model in
            let stamp = model.newStamp()
            model.begin(stamp, file, blocks)
            return (stamp, model.files[file].handle)
        }
        let bytes = ByteBuffer(bytes: Self.content(stamp, count: blocks.count))
        do {
            let offset = UInt64(Self.base + blocks.lowerBound * Self.blockSize)
            let result = try datastore.write(handle, offset: offset, bytes: bytes, stability: .fileSync, as: .root)
            guard result.count == bytes.readableBytes else { throw violation("a write was short") }
            model.withLock { model in
                if !machine.isDead { model.acknowledge(stamp, file, blocks) }
            }
        } catch let error as MutationFailure {
            let mayFail = machine.faults.withLock { $0.isDead || $0.storeHasFailed }
            guard mayFail || mayBeRefused(file) || isBeingRemoved(file) else {
                throw violation("a write of file \(file) failed: \(error.error.message)")
            }
        }
    }

    private func isBeingRemoved(_ file: Int) -> Bool { model.withLock { $0.files[file].existence != .present } }

    /// Clients write at once, each to blocks of its own, while an administrator does something that loses nothing.
    private func load() throws {
        let files = present
        let seeds = (0..<Self.writers).map { _ in UInt64(below(.max)) }
        let failure = Locked<(any Error)?>(nil)
        let task = below(6)
        note("load, beside \(task)")
        machine.faults.withLock { $0.flushTime = UInt32(self.below(4) * 500) }
        defer { machine.faults.withLock { $0.flushTime = 0 } }
        if task == 1 { machine.faults.withLock { ($0.storeFailures, $0.storeHasFailed) = (1, true) } }
        defer { machine.faults.withLock { $0.storeFailures = 0 } }
        concurrently(threads: Self.writers + 1) { [self] worker in
            do {
                guard worker < Self.writers else { return administerUnderLoad(task) }
                var random = SplitMix64(seed: seeds[worker])
                let share = Self.blockCount / Self.writers
                for _ in 0..<10 {
                    guard let file = files.randomElement(using: &random) else { return }
                    let first = worker * share + Int(random.next() % UInt64(share))
                    let end = first + 1 + Int(random.next() % UInt64((worker + 1) * share - first))
                    try write(file, first..<end)
                }
            } catch {
                failure.withLock { $0 = $0 ?? error }
            }
        }
        if let failure = failure.withLock({ $0 }) { throw failure }
        noteAttachment()
        try checkAll("after load beside \(task)")
    }

    private func administerUnderLoad(_ task: Int) {
        guard let datastore else { return }
        usleep(useconds_t(task * 300))
        switch task {
        case 0: try? datastore.detachTier()
        // Blocks cannot be moved at first, so that the log has to be given up; then they can, and nothing is lost.
        case 1:
            guard isHealthy else { return }
            do { try datastore.detachTier(givingUp: true) } catch { note("detach: \(error)") }
        case 2: failSSD()
        case 3: try? datastore.attachTier()
        default: for _ in 0..<3 { try? datastore.drain() }
        }
    }

    // MARK: Names

    private func renameSomething() throws {
        guard let file = pick(present) else { return }
        let new = newName()
        let old = model.withLock { $0.files[file].name }
        note("rename file \(file) to \(new.debugDescription)")
        do {
            try rename(old, new)
            guard !machine.isDead else { return }
            model.withLock { $0.files[file].name = new }
        } catch {
            guard machine.isDead || mayBeRefused(file) else { throw violation("a rename failed: \(error)") }
            try refreshNames()
        }
        if oneIn(2) { pause() }
    }

    private func rename(_ old: String, _ new: String) throws {
        guard let datastore, let root = try root() else { return }
        _ = try datastore.rename(root, FileName(old), to: root, FileName(new), as: .root)
    }

    private func remove(_ name: String) throws {
        guard let datastore, let root = try root() else { return }
        _ = try datastore.remove(root, FileName(name), as: .root)
    }

    /// Removes a file, or gives its name to another.
    private func removeSomething() throws {
        guard let victim = pick(present), let heir = pick(present.filter({ $0 != victim })) else { return }
        let isRenamed = oneIn(2)
        note("remove file \(victim)\(isRenamed ? " by renaming file \(heir)" : "")")
        if machine.hasDisk, oneIn(3) { machine.faults.withLock { $0.flushesToCut = 1 } }
        let other = model.withLock { $0.files[heir].name }
        let name = model.withLock { model in
            model.files[victim].existence = .beingRemoved
            return model.files[victim].name
        }
        do {
            if isRenamed { try rename(other, name) } else { try remove(name) }
            model.withLock { model in
                guard !machine.isDead else { return }
                model.files[victim].existence = .removed
                if isRenamed { model.files[heir].name = model.files[victim].name }
            }
        } catch {
            guard machine.isDead || mayBeRefused(victim) else {
                throw violation("file \(victim) cannot be removed: \(error)")
            }
            try refreshNames()
        }
    }
}
