import BlockStorage
import Foundation
import Glibc
import Introspection
import Logging
import NIOCore
import TestTools

@testable import Datastore
@testable import Tiering

/// One run of clients, administrators, starts and faults, decided by a seed, against a real datastore with its tier.
///
/// After every start, and now and then, every acknowledged block must read back, or the file or the start be refused for a
/// fault that there is. An image that the register does not name must have everything in its file alone.
final class TierSchedule: @unchecked Sendable {
    static let blockSize = 4096
    static let blockCount = 12
    /// The blocks reach over the border of two regions of the log's index.
    static let base = (4 << 20) - blockCount / 2 * blockSize
    static let fileSize = (4 << 20) + (64 << 10)
    static let fileCount = 3
    static let blocks = ByteRange(offset: base, length: blockCount * blockSize)

    /// The fast devices as the options name them.
    struct Layout: Equatable {
        var ssds: [Int]
        var isMirrored: Bool

        static let all = [
            Layout(ssds: [0], isMirrored: false), Layout(ssds: [1], isMirrored: false),
            Layout(ssds: [0, 1], isMirrored: true), Layout(ssds: [0, 1], isMirrored: false),
            Layout(ssds: [1, 0], isMirrored: false), Layout(ssds: [0, 1, 2], isMirrored: false),
        ]
    }

    let machine: TierMachine
    let model = Locked(TierModel(), .branch)
    /// What counted when the power failed.
    private let modelAtCut = Locked<TierModel?>(nil)
    private var random: SplitMix64
    /// How the log was made that counts.
    var layout: Layout
    var datastore: Datastore?
    /// What is wrong at the start of this life of the server.
    var fault = StartFault.none
    /// Whether this life's first start was none that was refused.
    private(set) var hasStarted = false
    /// Whether a log has been attached in this life.
    var wasAttached = false
    /// Whether images that need the log may have to be refused, which is not at hand.
    var isLogAway = false
    /// Whether the fast device has failed in this life.
    var ssdHasFailed = false
    /// Whether it is on record how the images looked when nobody served them any more.
    var isNoted = false
    /// The logs' files some time ago, in the present layout.
    var olderLogs: [String: Data]?
    var nameCount = 0
    /// What was done, for who looks for the cause of a violation.
    private let story = Locked<[String]>([])

    init(seed: UInt64) throws {
        random = SplitMix64(seed: seed)
        machine = try TierMachine(hasDisk: geteuid() == 0 && seed % 4 == 3)
        layout = [Layout.all[0], Layout.all[0], Layout.all[2], Layout.all[3], Layout.all[5]][Int(seed / 4 % 5)]
        // What is moved from a log that has failed is given up where it cannot be written, and lost.
        machine.mayStoreFail = { [unowned self] in datastore?.tier.attachment?.log.failure == nil }
        machine.atCut = { [unowned self] in
            let model = self.model.withLock { $0 }
            self.modelAtCut.withLock { $0 = model }
        }
    }

    func below(_ bound: Int) -> Int { Int(random.next() % UInt64(bound)) }
    func oneIn(_ count: Int) -> Bool { below(count) == 0 }
    func pick<Value>(_ values: [Value]) -> Value? { values.randomElement(using: &random) }
    func note(_ text: String) { story.withLock { $0.append(text) } }

    func violation(_ text: String) -> TierViolation {
        guard ProcessInfo.processInfo.environment["INTROSPECT_SEED"] != nil else { return TierViolation(text) }
        return TierViolation(text + "\n" + story.withLock { $0 }.joined(separator: "\n"))
    }

    // MARK: Lives of the server

    /// Runs `lives` lives of a server of `steps` steps, and a last one that sees to everything.
    func run(lives: Int, steps: Int) throws {
        // What failed is left to nobody.
        defer { datastore?.abandon() }
        for life in 0..<lives {
            if life > 0 { try prepareStart() }
            try beginLife()
            if life == 0 { try makeFiles() }
            if machine.hasDisk, !oneIn(3) { machine.faults.withLock { $0.flushesToCut = 1 + below(40) } }
            for _ in 0..<steps where !machine.isDead { try step() }
            try endLife(cleanly: oneIn(2))
            machine.faults.withLock { $0 = .init() }
            try putRight()
        }
        fault = .none
        drainTimeout = .seconds(10)
        try beginLife(breaking: false)
        for file in present { try resolve(file) }
        try checkAll("at the end")
        try endLife(cleanly: true)
        for file in present { try checkFile(file, "after a clean stop") }
    }

    private(set) var drainTimeout = Duration.zero

    private func makeFiles() throws {
        for _ in 0..<Self.fileCount { try create() }
        // They are images only after a while of quiet, or a start.
        try endLife(cleanly: true)
        try beginLife()
    }

    /// Breaks what is to be broken, starts the server, and looks at everything.
    private func beginLife(breaking: Bool = true) throws {
        (wasAttached, ssdHasFailed, hasStarted, isLogAway) = (false, false, false, fault.takesLogAway)
        if breaking { try breakSomething() }
        note("start: \(fault), \(layout)")
        do throws(DatastoreError) {
            datastore = try start()
            hasStarted = true
        } catch {
            note("refused: \(error.message)")
            guard fault.mayEndStart else { throw violation("a start was refused: \(error.message)") }
            machine.faults.withLock { $0 = .init() }
            try putRight()
            return try beginLife(without: fault)
        }
        try checkStart()
        waitForImages()
    }

    /// What was wrong is right again, and nothing may be lost.
    private func beginLife(without before: StartFault) throws {
        (fault, isLogAway) = (.none, false)
        note("start again after \(before)")
        do throws(DatastoreError) {
            datastore = try start()
        } catch {
            throw violation("a start was refused after \(before): \(error.message)")
        }
        try checkStart()
        waitForImages()
    }

    private func checkStart() throws {
        if case .lostKey = fault { return try checkByName() }
        noteAttachment()
        try refreshNames()
        try checkAll("after a start")
    }

    /// A new key was made: the files have other handles, and the same bytes.
    private func checkByName() throws {
        guard let datastore else { return }
        let root = try datastore.mount(machine.export, client: .loopback)
        for file in present where !mayBeRefused(file) {
            let entry = model.withLock { $0.files[file] }
            let handle = try datastore.lookup(root, FileName(entry.name), as: .root).handle
            try check(file, stamps: read(handle), "with another key")
        }
        datastore.abandon()
        self.datastore = nil
        try putRight()
        try beginLife(without: fault)
    }

    func start(state: String? = nil) throws(DatastoreError) -> Datastore {
        var configuration = DatastoreConfiguration(
            exports: [.init(path: machine.export)], stateDirectory: state ?? machine.state)
        configuration.cacheSize = 1 << 20
        configuration.lookInterval = 0.005
        configuration.openFailure = { [machine] inode in machine.faults.withLock { $0.unreachable[inode] } }
        if fault != .withoutTier {
            let asked = fault.layout ?? layout
            var tier = DatastoreConfiguration.Tier(
                directories: asked.ssds.map(machine.ssd), mode: fault == .off ? .off : .writeback,
                classes: RedirectClasses(Set(BlockClass.allCases)), drainTimeout: drainTimeout)
            tier.isMirrored = asked.isMirrored
            tier.modes = fault == .off ? [] : [("*/wt*", .writethrough), ("*/off*", .off)]
            tier.openDevice = { [machine] (directory, size) throws(StorageError) in
                try machine.openDevice(directory, mayMake: size != nil)
            }
            tier.openImage = { [machine] (path, _) throws(StorageError) in try machine.openImage(path) }
            configuration.tier = tier
        }
        let logger = Logger(label: "simulation") { [unowned self] _ in StoryLog(note: { self.note($0) }) }
        return try Datastore(configuration: configuration, logger: logger)
    }

    /// Images are found out in the background; before that their files take all writes.
    private func waitForImages() {
        guard let datastore, !oneIn(5) else { return }
        for file in present {
            let handle = model.withLock { $0.files[file].handle }
            for _ in 0..<500 {
                guard let open = datastore.files.file(for: handle), open.member == nil else { break }
                usleep(2000)
            }
        }
    }

    /// Takes note of what log the server has in use.
    func noteAttachment() {
        guard datastore?.tier.attachment != nil else { return }
        wasAttached = true
        isNoted = false
        guard let asked = fault.layout, asked != layout else { return }
        // No image needed the log, and it was made anew.
        layout = asked
        olderLogs = nil
    }

    private func endLife(cleanly: Bool) throws {
        guard let datastore else { return }
        try checkQuietly()
        var isStopped = false
        if cleanly, !machine.isDead {
            note("clean stop, \(drainTimeout)")
            datastore.close()
            // Of images that could not be looked at nothing was noted.
            if wasAttached { isNoted = machine.faults.withLock { $0.unreachable.isEmpty } }
            isStopped = !machine.isDead
        } else {
            note("kill")
            if oneIn(2) { machine.faults.withLock { $0.isDead = true } }
            datastore.abandon()
            if wasAttached { isNoted = false }
        }
        self.datastore = nil
        if machine.hasDisk, oneIn(3), modelAtCut.withLock({ $0 == nil }) { machine.cutPower() }
        // The power may have failed at any time before.
        guard let before = modelAtCut.withLock({ $0.take() }) else { return }
        note("the power has failed")
        try machine.restorePower()
        model.withLock { $0 = before }
        if !isStopped { isNoted = false }
    }

    private func prepareStart() throws {
        drainTimeout = oneIn(4) ? .seconds(5) : .zero
        fault = chooseFault()
        let unchanged = model.withLock { model in model.present.filter { model.files[$0].foreign == nil } }
        if isNoted, oneIn(4), let file = pick(unchanged) { try changeBehind(file) }
    }

    /// What the server does when nothing else happens.
    func pause() { usleep(useconds_t(500 + below(8000))) }
}

/// Takes down what servers say.
private struct StoryLog: LogHandler {
    let note: @Sendable (String) -> Void
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.notice

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) { note("    \(event.level): \(event.message)") }
}

extension Datastore {
    /// Ends all threads and lets others have the directories, without any farewell: as a kill.
    fileprivate func abandon() {
        readAheadPool.shutDown()
        for root in roots.values { root.inodes.stop() }
        tier.stopping.store(true, ordering: .relaxed)
        tier.thread.shutDown()
        files.finishFarewells()
        _ = files.close()
        serverLocks.release()
    }
}
