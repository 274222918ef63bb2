import CFUSE
import FoundationEssentials
import Glibc
import Synchronization

/// A FUSE file system with one file that answers as a real disk does.
///
/// | file | what it is |
/// |---|---|
/// | `disk` | the disk's bytes; opened past the page cache, so that every request reaches the model |
/// | `statistics.json` | ``DiskStatistics``, at the moment of reading |
/// | `trace` | the requests since `tracing on`, lines TIME KIND OFFSET LENGTH; what a read from byte 0 found |
/// | `control` | takes one of ``Control``'s lines |
///
/// The kernel's own queue in front of the disk is a loop device's, put on the file with `--direct-io=on`.
public final class DiskServer: Sendable {
    /// What to serve, and where.
    public struct Configuration: Sendable {
        /// The directory to mount on.
        public var mountPoint: String
        /// The size in bytes of the file.
        public var size: Int
        /// The sparse file behind it; nil for memory.
        public var backingFile: String?
        /// The file that every write is appended to, in the order of their arrival; nil for none.
        public var writeLog: String?
        /// What the disk is like.
        public var drive: Drive
        /// Whether answers take the disk's time from the start.
        public var isTiming: Bool

        /// The configuration of these parts.
        public init(
            mountPoint: String, size: Int, backingFile: String? = nil, drive: Drive, isTiming: Bool
        ) {
            self.mountPoint = mountPoint
            self.size = size
            self.backingFile = backingFile
            self.drive = drive
            self.isTiming = isTiming
        }
    }

    /// The largest request in bytes that the kernel sends.
    static let maximumRequest = 1 << 20
    /// How many requests of a loop device the kernel sends before it waits for answers.
    static let maximumBackground = 128

    let store: BackingStore
    let writeLog: WriteLog?
    let clock: DiskClock
    private let configuration: Configuration
    private let failing = Atomic<Bool>(false)
    private let obeysFlushes = Atomic<Bool>(true)
    private let tracedLines = Mutex<[UInt8]>([])

    /// What `control` takes.
    enum Control: String {
        /// Answers take the disk's time.
        case timingOn = "timing on"
        /// Answers take no time, and nothing is counted.
        case timingOff = "timing off"
        /// Requests that take time are noted, from none.
        case tracingOn = "tracing on"
        /// They are no longer noted, and forgotten.
        case tracingOff = "tracing off"
        /// Every read, write and flush of the disk is answered with EIO.
        case errorsOn = "errors on"
        /// They are served again.
        case errorsOff = "errors off"
        /// The disk's contents are remembered as they are now.
        case snapshot
        /// They are made what they were; nobody may use the disk meanwhile. The buffer is empty afterwards.
        case restore
        /// What is written from now on and not flushed may be lost by `cut`.
        case volatileOn = "volatile on"
        /// Flushes are answered and do nothing, as those of a disk that lies.
        case flushesOff = "flushes off"
        /// Loses some or all of what was not flushed, by the number that follows, and answers with errors until
        /// `errors off`.
        case cut
    }

    /// Takes the backing store; nothing is mounted yet.
    public init(_ configuration: Configuration) throws(TestBedError) {
        store = try BackingStore(path: configuration.backingFile, size: configuration.size)
        if let path = configuration.writeLog { writeLog = try WriteLog(path: path) } else { writeLog = nil }
        clock = DiskClock(drive: configuration.drive, isTiming: configuration.isTiming)
        self.configuration = configuration
    }

    /// Mounts, and serves until SIGINT, SIGTERM or SIGHUP, or until the file system is unmounted.
    public func run() throws(TestBedError) {
        let words = ["introspect-disk", "-o", "fsname=introspect-disk,max_read=\(Self.maximumRequest)"]
        var arguments = words.map { strdup($0) }
        defer { arguments.forEach { free($0) } }
        let session = arguments.withUnsafeMutableBufferPointer { pointers in
            var list = fuse_args(argc: Int32(pointers.count), argv: pointers.baseAddress, allocated: 0)
            var operations = DiskFiles.operations
            return fuse_session_new(
                &list, &operations, MemoryLayout<fuse_lowlevel_ops>.size, Unmanaged.passUnretained(self).toOpaque())
        }
        guard let session else { throw TestBedError("FUSE refuses a session") }
        defer { fuse_session_destroy(session) }
        guard fuse_set_signal_handlers(session) == 0 else { throw TestBedError("FUSE refuses signal handlers") }
        defer { fuse_remove_signal_handlers(session) }
        guard fuse_session_mount(session, configuration.mountPoint) == 0 else {
            throw TestBedError("cannot mount a FUSE file system on \(configuration.mountPoint)")
        }
        defer { fuse_session_unmount(session) }
        let thread = Thread.start { [clock] in clock.run() }
        let status = fuse_session_loop(session)
        clock.stop()
        thread.join()
        guard status >= 0 else { throw TestBedError("FUSE: \(String(cString: strerror(-status)))") }
    }

    /// The counters as JSON, with the parameters that they were counted under.
    func statisticsDocument() -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        guard let document = try? encoder.encode(clock.statistics) else { return [] }
        return Array(document) + [UInt8(ascii: "\n")]
    }

    /// Whether reads, writes and flushes fail.
    var isFailing: Bool { failing.load(ordering: .relaxed) }

    /// Brings what was written before to the platter.
    func flush() {
        if obeysFlushes.load(ordering: .relaxed) { store.flush() }
    }

    /// The trace as a document; the same one until it is read from its start again.
    func traceDocument(at offset: Int) -> [UInt8] {
        tracedLines.withLock { lines in
            if offset == 0 { lines = clock.requests.flatMap { Array($0.line.utf8) } }
            return lines
        }
    }

    /// Obeys a line written to `control`; whether it was understood.
    func obey(_ line: String) -> Bool {
        var words = line.split(whereSeparator: \.isWhitespace)
        let number = words.last.flatMap { UInt64($0) }
        if number != nil { words.removeLast() }
        switch Control(rawValue: words.joined(separator: " ")) {
        case .timingOn: clock.setTiming(true)
        case .timingOff: clock.setTiming(false)
        case .tracingOn: clock.setTracing(true)
        case .tracingOff: clock.setTracing(false)
        case .errorsOn: failing.store(true, ordering: .relaxed)
        case .errorsOff: failing.store(false, ordering: .relaxed)
        case .snapshot: return attempt(store.takeSnapshot)
        case .restore:
            clock.reset()
            return attempt(store.restoreSnapshot)
        case .volatileOn: return attempt(store.becomeVolatile)
        case .flushesOff: obeysFlushes.store(false, ordering: .relaxed)
        case .cut:
            failing.store(true, ordering: .relaxed)
            return attempt { () throws(TestBedError) in try store.loseUnflushed(seed: number ?? 0) }
        case nil: return false
        }
        return true
    }

    private func attempt(_ action: () throws(TestBedError) -> Void) -> Bool {
        do throws(TestBedError) {
            try action()
            return true
        } catch {
            tell("\(error)")
            return false
        }
    }
}
