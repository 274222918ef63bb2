import BlockStorage
import Foundation
import Glibc

@testable import Datastore
@testable import Tiering

/// What administrators do, and other programs on the server.
extension TierSchedule {
    func administer() throws {
        guard let datastore, !machine.isDead else { return }
        switch below(24) {
        case 0..<5: try? datastore.drain()
        case 5..<7: if let attachment = datastore.tier.attachment { try? attachment.destager.pass(sparing: 0.5) }
        case 7, 8: try detach()
        case 9..<14: try attach()
        case 14..<17: if let file = pick(present) { try changeWhileServed(file) }
        case 17..<20: for file in present { try resolve(file) }
        case 20: failSSD()
        case 21: if oneIn(3) { try startAnother() }
        case 22: try breakStore()
        default: pause()
        }
        noteAttachment()
    }

    /// Whether a log is in use, and nothing keeps its blocks from being moved to the images.
    var isHealthy: Bool {
        guard let log = datastore?.tier.attachment?.log, !ssdHasFailed, log.failure == nil else { return false }
        let faults = machine.faults.withLock { $0.unreachable.isEmpty && $0.failing.isEmpty && $0.readOnly.isEmpty }
        return faults && !isLogAway && !model.withLock { $0.files.contains { $0.foreign != nil } }
    }

    /// Blocks cannot be moved to the images for a moment: they stay in the log.
    private func breakStore() throws {
        machine.faults.withLock { ($0.storeFailures, $0.storeHasFailed) = (3, true) }
        try? datastore?.drain()
        machine.faults.withLock { $0.storeFailures = 0 }
        try checkAll("after blocks could not be moved")
    }

    // MARK: The log

    private func attach() throws {
        guard let datastore, datastore.tier.attachment == nil else { return }
        let adopts: Bool
        if case .older = fault, oneIn(2) { adopts = true } else { adopts = false }
        if !adopts {
            if case .otherLayout = fault { return }
            try putRight()
        }
        do throws(DatastoreError) {
            try datastore.attachTier(adopting: adopts)
            note(adopts ? "adopt" : "attach")
        } catch {
            return note("attach: \(error.message)")
        }
        noteAttachment()
        if adopts { return try takeOlderBlocks() }
        isLogAway = false
        try checkAll("after an attach")
    }

    /// An administrator has said that an older copy of the log counts.
    private func takeOlderBlocks() throws {
        isLogAway = false
        for file in present {
            let entry = model.withLock { $0.files[file] }
            guard let stamps = try? read(entry.handle) else { continue }
            for (block, stamp) in stamps.enumerated() {
                let known = entry.blocks[block]
                guard known.history.contains(stamp) || known.unanswered.contains(stamp) else {
                    throw violation("after an adoption file \(file) has \(stamp) in block \(block), which it never had")
                }
                model.withLock { $0.set(stamp, file, block) }
            }
        }
    }

    /// Takes the log out of use. What is given up is lost; of a log and images that are well nothing is.
    private func detach() throws {
        guard let datastore else { return }
        let (wasHealthy, givesUp) = (isHealthy, oneIn(2))
        let losing = isLogAway ? present : present.filter(mayBeRefused)
        note("detach\(givesUp ? ", giving up" : "")")
        for attempt in 0... {
            do throws(DatastoreError) {
                try datastore.detachTier(givingUp: givesUp)
                break
            } catch {
                guard wasHealthy, !machine.isDead else { return }
                // What the log has of a file that was just removed is forgotten in the background.
                guard attempt < 50 else { throw violation("a healthy log cannot be detached: \(error.message)") }
                usleep(20_000)
            }
        }
        guard !machine.isDead else { return }
        if givesUp { for file in losing { try takeFile(file) } }
        isLogAway = false
        try checkAll("after a detach")
    }

    /// What stands in the file counts from now on.
    private func takeFile(_ file: Int) throws {
        for (block, stamp) in try onDisk(file).enumerated() {
            model.withLock { model in
                model.set(stamp, file, block)
                (model.files[file].foreign, model.files[file].isQuarantined) = (nil, false)
            }
        }
    }

    /// A side of a mirror fails, or nothing can be written to the log any more.
    func failSSD() {
        note("the fast device fails")
        ssdHasFailed = true
        machine.faults.withLock { [layout] faults in
            if layout.isMirrored {
                faults.readOnly = [machine.ssd(layout.ssds[1])]
            } else {
                faults.readOnly = Set(layout.ssds.map(machine.ssd))
            }
        }
    }

    /// A second server, with this one's state directory or its own.
    private func startAnother() throws {
        let state = oneIn(2) ? nil : "\(machine.directory)/state2"
        if let other = try? start(state: state) {
            other.close()
            throw violation("a second server was started")
        }
    }

    // MARK: Other programs

    /// Writes to a file as another program does.
    func changeBehind(_ file: Int) throws {
        // Times of change must differ.
        usleep(20_000)
        let (stamp, name) = model.withLock { ($0.newStamp(), $0.files[file].name) }
        let block = below(Self.blockCount)
        note("another program writes \(stamp) to block \(block) of file \(file)")
        let device = try FileDevice(path: "\(machine.export)/\(name)", access: .readWrite, mode: .buffered)
        let bytes = Self.content(stamp, count: 1)
        try bytes.withUnsafeBytes { try device.write($0, at: Self.base + block * Self.blockSize) }
        try device.flush()
        usleep(20_000)
        model.withLock { model in
            model.files[file].foreign = (block, model.files[file].blocks[block])
            model.set(stamp, file, block)
        }
    }

    private func changeWhileServed(_ file: Int) throws {
        guard let datastore, !machine.hasDisk else { return }
        let entry = model.withLock { $0.files[file] }
        guard entry.foreign == nil else { return }
        // Of a file that is not open nothing is known but what was noted at a stop.
        guard datastore.files.file(for: entry.handle) != nil || isNoted,
            datastore.tier.attachment.map({ $0.log.failure == nil && $0.log.fullness < 0.4 }) ?? true
        else { return }
        try changeBehind(file)
        try check(file, "after another program wrote to it")
    }

    /// An administrator says whose blocks count.
    func resolve(_ file: Int) throws {
        guard let datastore, datastore.tier.attachment != nil else { return }
        let entry = model.withLock { $0.files[file] }
        guard entry.isQuarantined, let foreign = entry.foreign else { return }
        let keepsLog = oneIn(2)
        note("resolve file \(file), keeping \(keepsLog ? "log" : "file")")
        let path = "\(ByteString(Array("\(machine.export)/\(entry.name)".utf8)))"
        do throws(DatastoreError) {
            try datastore.resolve(path, keepingLog: keepsLog)
        } catch {
            return note("resolve: \(error.message)")
        }
        guard keepsLog else { return try takeFile(file) }
        model.withLock { model in
            var block = foreign.before
            block.unanswered.insert(model.files[file].blocks[foreign.block].latest)
            model.files[file].blocks[foreign.block] = block
            (model.files[file].foreign, model.files[file].isQuarantined) = (nil, false)
        }
        try check(file, "after it was resolved")
    }
}
