import Glibc
import Synchronization

/// A process that we started, leader of its own process group.
final class ChildProcess: Sendable {
    let identifier: pid_t
    private let status = Mutex<Int32?>(nil)

    private init(identifier: pid_t) {
        self.identifier = identifier
    }

    /// Starts `words[0]` with nothing on standard input.
    static func spawn(_ words: [String], output: Int32, errorOutput: Int32) throws(TestBedError) -> ChildProcess {
        guard !Interruption.forbidsWork else { throw TestBedError("interrupted") }
        guard let program = words.first else { throw TestBedError("no program to run") }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, output, 1)
        posix_spawn_file_actions_adddup2(&actions, errorOutput, 2)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var signals = sigset_t()
        sigemptyset(&signals)
        posix_spawnattr_setsigmask(&attributes, &signals)
        for number in [SIGINT, SIGTERM, SIGHUP, SIGPIPE] {
            sigaddset(&signals, number)
        }
        posix_spawnattr_setsigdefault(&attributes, &signals)
        posix_spawnattr_setpgroup(&attributes, 0)
        let flags = Int32(POSIX_SPAWN_SETPGROUP) | Int32(POSIX_SPAWN_SETSIGMASK) | Int32(POSIX_SPAWN_SETSIGDEF)
        posix_spawnattr_setflags(&attributes, Int16(flags))
        var arguments = words.map { strdup($0) } + [nil]
        defer { arguments.forEach { free($0) } }
        var identifier: pid_t = 0
        let status = posix_spawnp(&identifier, program, &actions, &attributes, &arguments, environ)
        guard status == 0 else { throw TestBedError("start \(program): \(String(cString: strerror(status)))") }
        return ChildProcess(identifier: identifier)
    }

    /// The exit status as a shell tells it, or nil while the process runs.
    func statusIfEnded() -> Int32? {
        status.withLock { status in
            if status == nil { status = Self.reap(identifier, options: WNOHANG) }
            return status
        }
    }

    /// Waits for the end, at the longest `seconds`; the exit status as a shell tells it, nil when it still runs.
    func waitForEnd(seconds: Double) -> Int32? {
        let deadline = monotonicNanoseconds() + Int(seconds * 1e9)
        while true {
            if let status = statusIfEnded() { return status }
            guard monotonicNanoseconds() < deadline else { return nil }
            usleep(5000)
        }
    }

    /// Waits for the end; the exit status as a shell tells it.
    func waitForEnd() -> Int32 {
        while true {
            if let status = waitForEnd(seconds: 3600) { return status }
        }
    }

    /// Sends a signal to the process, unless it has ended.
    func signal(_ number: Int32) {
        status.withLock { status in
            if status == nil { kill(identifier, number) }
        }
    }

    /// Kills the process and what it started, as far as that stayed in its group.
    func killGroup() {
        kill(-identifier, SIGKILL)
    }

    private static func reap(_ identifier: pid_t, options: Int32) -> Int32? {
        var raw: Int32 = 0
        let reaped = waitpid(identifier, &raw, options)
        if reaped == 0 || (reaped < 0 && errno == EINTR) { return nil }
        guard reaped == identifier else { return 127 }
        let signal = raw & 0x7F
        return signal == 0 ? (raw >> 8) & 0xFF : 128 + signal
    }
}
