import Glibc
import TestBed

/// A server that lives several times with one image, and what it owes its clients after each.
final class CrashCase {
    /// What came of a life.
    struct Outcome {
        var finding = Finding()
        /// What is wrong beside bytes.
        var failure: String?
        var acknowledgedBytes = 0
        var refusals = 0
        /// What happened to the server, in words.
        var events: [String] = []
    }

    /// How a life ends.
    enum Ending: String {
        case kill
        case powerCut = "power cut"
        case stop
        /// SIGTERM, and the log keeps what it has.
        case stopAtOnce = "stop without draining"
    }

    private let campaign: CrashCampaign
    private let mode: CrashMode
    private let template: CrashTemplate
    private let writers: Int
    private let storage: CrashStorage
    private let image: PromisedImage
    private let server: CrashServer
    private var generator: SeededGenerator
    private let patternOptions: [String]
    /// Whether clients do nothing but write single blocks, and nobody touches the log, which then fills up.
    private let isCalm: Bool
    private var goesWithoutLog = false
    /// The side of the mirror that has failed in this life, by its number.
    private var failedSide: Int?
    private var outcome = Outcome()

    init(
        _ campaign: CrashCampaign, _ mode: CrashMode, _ template: CrashTemplate, seed: UInt64, writers: Int,
        obeysFlushes: Bool, on bed: Bed
    ) throws {
        let temporary = try TemporaryDirectory(on: bed)
        self.campaign = campaign
        self.mode = mode
        self.template = template
        self.writers = writers
        generator = SeededGenerator(seed: seed)
        storage = try CrashStorage(
            mode: mode, onDisks: campaign != .kill, obeysFlushes: obeysFlushes, in: temporary, on: bed)
        let path = "\(storage.export)/\(PromisedImage.names[0])"
        try run("cp", "--sparse=always", template.path, path)
        image = try PromisedImage(path, room: template.room / 2, seed: seed, mayLoseUnstable: campaign.isLive)
        server = CrashServer(in: temporary, on: bed)
        // The server must follow an image to a name for which another mode is given.
        let isMixed = mode != .off && Int.random(in: 0..<3, using: &generator) == 0
        isCalm = Bool.random(using: &generator)
        patternOptions = isMixed ? ["--ssd-mode-for", "\(PromisedImage.names[1])=off"] : []
        try storage.becomeVolatile()
    }

    /// What the server has warned of since it was started last, and what it said when it broke.
    var warnings: [Substring] { server.log.split(separator: "\n").filter { !$0.contains(" info ") } }

    /// Starts the server, has clients write until it ends in some way, and looks at the image before and after.
    func live() -> Outcome {
        outcome {
            let ending = chooseEnding()
            let withoutLog = goesWithoutLog
            goesWithoutLog = false
            try start(withLog: !withoutLog, drainsAtStop: ending != .stopAtOnce) { ports in
                let traffic = CrashTraffic(
                    image: image, server: ports, export: storage.export, name: image.possibleNames[0])
                try load(traffic, withLog: mode != .off && !withoutLog, ending)
            }
            try afterEnd(of: ending, withLog: !withoutLog)
        }
    }

    /// Starts the server a last time, looks at the image through it, and at the file alone after a clean stop.
    func finish() -> Outcome {
        outcome {
            try start(withLog: true, drainsAtStop: true) { _ in
                if let failure = stop() { fail(failure) }
            }
            outcome.finding += try image.check(file: path(), "the file alone after a clean stop")
        }
    }

    private func outcome(of body: () throws -> Void) -> Outcome {
        outcome = Outcome()
        do {
            try body()
        } catch {
            server.kill()
            fail("\(error)")
        }
        return outcome
    }

    private func chooseEnding() -> Ending {
        let dice = Int.random(in: 0..<10, using: &generator)
        switch campaign {
        case .kill: return dice < 7 ? .kill : dice < 8 ? .stop : .stopAtOnce
        case .power: return dice < 9 ? .powerCut : .stop
        case .store, .log: return dice < 4 ? .kill : dice < 8 ? .powerCut : .stop
        }
    }

    private func fail(_ words: String) { outcome.failure = outcome.failure ?? words }

    // MARK: Start

    private func start(
        withLog: Bool, drainsAtStop: Bool, _ body: (CrashServer.Ports) throws -> Void
    ) throws {
        var options = withLog ? mode.options(logs: storage.logs) + patternOptions : []
        if !drainsAtStop, !options.isEmpty { options += ["--drain-timeout", "0"] }
        let ports = try server.start(serving: storage.export, state: storage.state, options)
        try checkThroughServer(ports, withLog ? "the server" : "the server without its log")
        try body(ports)
    }

    /// Reads the whole image.
    private func checkThroughServer(_ ports: CrashServer.Ports, _ place: String) throws {
        let client = try CrashClient(storage.export, port: ports.nfs, mountPort: ports.mount)
        var found: [(name: String, file: [UInt8])] = []
        for name in PromisedImage.names {
            if case .done(let file) = try client.lookup(name) { found.append((name, file)) }
        }
        guard found.count == 1, image.possibleNames.contains(found[0].name) else {
            return fail("there are \(found.map(\.name)) in place of one of \(image.possibleNames)")
        }
        image.possibleNames = [found[0].name]
        let file = found[0].file
        guard case .done(let size) = try client.size(of: file) else { return fail("no GETATTR after a start") }
        outcome.finding += image.check(size: size, place)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 4096)
        defer { buffer.deallocate() }
        for offset in stride(from: 0, to: size, by: buffer.count) {
            let bytes = UnsafeMutableRawBufferPointer(rebasing: buffer[..<min(buffer.count, size - offset)])
            switch try patiently({ () throws(NFSClientError) in try client.read(file, at: offset, into: bytes) }) {
            case .done(bytes.count):
                outcome.finding += image.check(
                    UnsafeRawBufferPointer(bytes), from: offset / StampedBlocks.size, place)
            case .done(let count):
                fail("\(place): a READ at \(offset) gave \(count) of \(bytes.count) bytes")
            case .refused(let status):
                return fail("\(place): a READ at \(offset) after a start: status \(status)")
            }
        }
    }

    /// Calls until the answer is not that it should be asked again later (NFS3ERR_JUKEBOX).
    private func patiently<Value>(
        _ call: () throws(NFSClientError) -> CrashClient.Answer<Value>
    ) throws(NFSClientError) -> CrashClient.Answer<Value> {
        let deadline = monotonicNanoseconds() + CrashClient.patience * 1_000_000_000
        while true {
            let answer = try call()
            guard case .refused(10_008) = answer, monotonicNanoseconds() < deadline else { return answer }
            usleep(20_000)
        }
    }

    // MARK: Load and end

    private func load(_ traffic: CrashTraffic, withLog: Bool, _ ending: Ending) throws {
        let clients = try (0..<writers).map { number in
            let runs = template.runs.enumerated().filter { $0.offset % writers == number }.map(\.element)
            return try CrashWriter(
                traffic, runs: runs.shuffled(using: &generator), isCalm: isCalm, seed: generator.next())
        }
        let oddities = CrashOddities(
            traffic, server, movesLog: withLog && !isCalm, leastSize: template.fileSystemSize, seed: generator.next())
        let threads =
            clients.map { client in Thread.start { client.run() } } + [Thread.start { oddities.run() }]
        defer {
            // A client whose connection ends before the traffic does tries to come back.
            traffic.end()
            threads.forEach { $0.join() }
            for client in clients {
                outcome.finding += client.finding
                outcome.acknowledgedBytes += client.acknowledgedBytes
                outcome.refusals += client.refusals
                if let failure = client.failure { fail(failure) }
            }
            if let failure = oddities.failure { fail(failure) }
        }
        pass()
        do {
            if campaign.isLive { try disturb(traffic) }
            if !server.isRunning { fail("it ended by itself") }
            try end(ending)
        } catch {
            // So that the clients end, who are waited for.
            server.kill()
            throw error
        }
    }

    /// Lets some time pass; now and then so much that the log fills up.
    private func pass() {
        let mostMilliseconds = Int.random(in: 0..<4, using: &generator) == 0 ? 3000 : 900
        usleep(UInt32(Int.random(in: 100...mostMilliseconds, using: &generator) * 1000))
    }

    /// A disk fails, and comes back or not.
    private func disturb(_ traffic: CrashTraffic) throws {
        let disks = campaign == .store ? storage.disks.prefix(1) : storage.disks.dropFirst()
        let event = try CrashEvent.random(for: campaign, using: &generator)
        let isForAll = campaign == .log && mode != .stripe && Int.random(in: 0..<3, using: &generator) == 0
        let victims = isForAll ? Array(disks) : Array(disks.shuffled(using: &generator).prefix(1))
        failedSide = nil
        if mode == .mirror, victims.count == 1 {
            failedSide = storage.disks.dropFirst().firstIndex { $0 === victims[0] }.map { $0 - 1 }
        }
        let begin = { for disk in victims { try event.begin(on: disk) } }
        try campaign == .store && event == .shutdown ? traffic.whileShuttingDown(begin) : begin()
        outcome.events.append("\(event.rawValue) on \(victims.count) of \(disks.count) disks")
        pass()
        guard Bool.random(using: &generator) else { return }
        for disk in victims { try event.end(on: disk) }
        outcome.events.append("no more")
        pass()
    }

    private func end(_ ending: Ending) throws {
        outcome.events.append(ending.rawValue)
        switch ending {
        case .kill: server.kill()
        case .powerCut:
            server.freeze()
            try storage.cutPower(seed: generator.next())
            server.kill()
        case .stop, .stopAtOnce:
            if let failure = stop() { fail(failure) }
        }
    }

    private func stop() -> String? {
        let status = server.stop()
        if status == nil { return "it does not stop within 90 s" }
        // With a disk that has failed it may say so by its status.
        return status == 0 || campaign.isLive ? nil : "it stops with status \(status ?? -1)"
    }

    private func afterEnd(of ending: Ending, withLog: Bool) throws {
        image.serverEnded()
        let hasAll = ending == .stop && !campaign.isLive
        if campaign.isLive || ending == .powerCut {
            for disk in storage.disks { CrashEvent.endAll(on: disk) }
            try storage.restorePower()
            try replaceDisk()
        }
        guard outcome.failure == nil, hasAll || mode.fileIsComplete || !withLog else { return }
        outcome.finding += try image.check(file: path(), "the file alone")
        // Without the log that it had, a server must serve what is complete without it.
        if mode != .off, Bool.random(using: &generator), ending == .stopAtOnce || hasAll { goesWithoutLog = true }
    }

    /// Has a new disk in place of the one side of a mirror that failed.
    private func replaceDisk() throws {
        guard let side = failedSide, Bool.random(using: &generator) else { return }
        outcome.events.append("one side replaced")
        try run("find", storage.logs[side], "-mindepth", "1", "-delete")
    }

    private func path() throws -> String {
        let paths = PromisedImage.names.map { "\(storage.export)/\($0)" }
        let found = paths.filter { path in access(path, F_OK) == 0 }
        guard found.count == 1 else { throw TestBedError("\(storage.export) has \(found) in place of one image") }
        return found[0]
    }
}
