import Glibc
import Synchronization
import TestBed

/// Carries an ``Attack`` out until it is stopped.
final class Attacker: @unchecked Sendable {
    private static let mebibyte = 1 << 20
    private static let host = NetworkNamespace.serverAddress

    private let attack: Attack
    private let files: AttackFiles
    private let isStopped = Atomic(false)
    /// Connections that stay open.
    private var kept: [NFSConnection] = []
    private let lock = Mutex(())

    init(_ attack: Attack, files: AttackFiles) {
        self.attack = attack
        self.files = files
    }

    func stop() { isStopped.store(true, ordering: .relaxed) }
    private var goesOn: Bool { !isStopped.load(ordering: .relaxed) }

    func start() {
        switch attack {
        case .none: break
        case .unreadReads: onThreads(8) { try self.leaveReadsUnread() }
        case .writes: onThreads(40) { try self.keepBusy(8, self.write(Self.mebibyte, isStable: false)) }
        case .listings: onThreads(8) { try self.keepBusy(256, self.listing) }
        case .smallWrites: onThreads(1) { try self.keepBusy(64, self.write(1000, isStable: true)) }
        case .idleConnections: onThreads(1) { try self.openConnections(1100) }
        case .nonsense: onThreads(1) { try self.sendNonsense(5000) }
        case .mounts: onThreads(40) { try self.mount() }
        }
    }

    private func onThreads(_ count: Int, _ body: @escaping @Sendable () throws -> Void) {
        for _ in 0..<count {
            // A connection that the server closes ends its thread: that is an answer to an attack, too.
            Thread.start { try? body() }.detach()
        }
    }

    private func connect(_ port: UInt16? = nil, anyPort: Bool = false) throws -> NFSConnection {
        try NFSConnection(host: Self.host, port: port ?? files.port, from: anyPort ? nil : Self.host)
    }

    private var listing: [UInt8] {
        NFSCalls.readDirectory(files.directory, cookie: 0, verifier: 0, count: Int(UInt32.max))
    }

    private func write(_ count: Int, isStable: Bool) -> [UInt8] {
        NFSCalls.write(files.target, offset: 0, count: count, isStable: isStable) + [UInt8](repeating: 7, count: count)
    }

    private func keep(_ connection: NFSConnection) {
        lock.withLock { _ in kept.append(connection) }
    }

    private func leaveReadsUnread() throws {
        let connection = try connect()
        keep(connection)
        for number in 0..<256 {
            try connection.send(
                NFSCalls.read(files.image, offset: number % 64 * Self.mebibyte, count: Self.mebibyte))
        }
    }

    /// Has so many calls under way at a time.
    private func keepBusy(_ depth: Int, _ record: [UInt8]) throws {
        let connection = try connect()
        for _ in 0..<depth { try connection.send(record) }
        while goesOn {
            _ = try connection.receive()
            try connection.send(record)
        }
    }

    private func openConnections(_ count: Int) throws {
        for _ in 0..<count {
            let connection = try connect(anyPort: true)
            keep(connection)
        }
    }

    private func sendNonsense(_ count: Int) throws {
        for _ in 0..<count where goesOn {
            let connection = try connect(anyPort: true)
            try? connection.send([UInt8](repeating: 0xff, count: 64))
        }
    }

    private func mount() throws {
        let connection = try connect(files.mountPort, anyPort: true)
        keep(connection)
        try connection.send(NFSCalls.mount("/" + String(repeating: "\u{1b}x", count: Self.mebibyte / 2 - 200)))
    }
}
