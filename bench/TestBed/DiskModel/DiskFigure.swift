import CLinux
import Glibc
import Synchronization

/// What a data sheet tells of a disk's speed, and how to find it out.
public enum DiskFigure: String, CaseIterable, Sendable {
    /// Reads of 4 KiB anywhere, one at a time, a second.
    case randomReads
    /// The same with a full queue.
    case queuedRandomReads
    /// Writes of 4 KiB anywhere with a full queue, a second.
    case queuedRandomWrites
    /// Reads in order, in 10^6 bytes a second.
    case sequentialReads
    /// Writes in order and the flush after them, in 10^6 bytes a second.
    case sequentialWrites

    /// What to call it in a table, with its unit.
    public var title: String {
        switch self {
        case .randomReads: "4 KiB reads/s, 1 at a time"
        case .queuedRandomReads: "4 KiB reads/s, full queue"
        case .queuedRandomWrites: "4 KiB writes/s, full queue"
        case .sequentialReads: "reads in order, MB/s"
        case .sequentialWrites: "writes in order, MB/s"
        }
    }

    private var isSequential: Bool { self == .sequentialReads || self == .sequentialWrites }

    var kind: DiskCommand.Kind { self == .queuedRandomWrites || self == .sequentialWrites ? .write : .read }

    /// The bytes of a command.
    var length: Int { isSequential ? 1 << 20 : 4096 }

    /// Commands under way at a time, of a host that keeps `queue` of them when the figure wants a full queue.
    func depth(queue: Int) -> Int {
        switch self {
        case .randomReads: 1
        case .queuedRandomReads, .queuedRandomWrites: queue
        case .sequentialReads, .sequentialWrites: 2
        }
    }

    /// Where `count` commands go on a disk of `capacity` bytes; the same places for each `seed`.
    func offsets(_ count: Int, capacity: Int, seed: UInt64) -> [Int] {
        guard !isSequential else { return (0..<count).map { $0 * length % max(length, capacity - length) } }
        var generator = SeededGenerator(seed: seed)
        return (0..<count).map { _ in Int.random(in: 0..<max(1, capacity / length), using: &generator) * length }
    }

    /// The figure, `count` commands having taken so many seconds.
    func value(count: Int, seconds: Double) -> Double {
        guard seconds > 0 else { return .infinity }
        return isSequential ? Double(count * length) / 1e6 / seconds : Double(count) / seconds
    }

    /// The figure of a drive in its own time.
    public func simulated(_ drive: Drive, seed: UInt64 = 1) -> Double {
        var disk = drive.disk()
        // Enough that a mechanical disk's chance evens out, and that a solid-state disk's buffer does not count.
        let count = if isSequential { 500 } else if case .mechanical = drive { 1_000 } else { 10_000 }
        let offsets = offsets(count, capacity: drive.capacity, seed: seed)
        var submitted = 0
        var now = 0
        func submitNext() {
            guard submitted < count else { return }
            let command = DiskCommand(identifier: submitted, kind: kind, offset: offsets[submitted], length: length)
            disk.submit(command, at: now)
            submitted += 1
        }
        func run(onAnswer: () -> Void) {
            while let next = disk.nextEvent {
                for completion in disk.advance(to: next) {
                    now = max(now, completion.time)
                    onAnswer()
                }
            }
        }
        for _ in 0..<depth(queue: drive.queueDepth) { submitNext() }
        run(onAnswer: submitNext)
        if kind == .write {
            disk.submit(DiskCommand(identifier: count, kind: .flush), at: now)
            run {}
        }
        return value(count: count, seconds: Double(now) / 1e9)
    }

    /// The figure as this machine's kernel sees it on a block device, whose contents writes destroy; from at most
    /// `count` commands in at most `seconds` seconds.
    public func measured(
        on device: String, of drive: Drive, count: Int, seconds: Double, seed: UInt64 = 1
    ) throws(TestBedError) -> Double {
        let descriptor = open(device, O_RDWR | O_CLOEXEC | linux_o_direct)
        guard descriptor >= 0 else { throw TestBedError.lastSystemError("open \(device)") }
        defer { close(descriptor) }
        let offsets = offsets(count, capacity: drive.capacity, seed: seed)
        let done = Atomic(0)
        let hasFailed = Atomic(false)
        let start = monotonicNanoseconds()
        let deadline = start + Int(seconds * 1e9)
        let threads = (0..<depth(queue: drive.queueDepth)).map { _ in
            Thread.start { [kind, length] in
                let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: length, alignment: 4096)
                defer { buffer.deallocate() }
                buffer.initializeMemory(as: UInt8.self, repeating: 1)
                while monotonicNanoseconds() < deadline, !hasFailed.load(ordering: .relaxed) {
                    let index = done.add(1, ordering: .relaxed).oldValue
                    guard index < count else { return }
                    let moved =
                        kind == .read
                        ? pread(descriptor, buffer.baseAddress, length, offsets[index])
                        : pwrite(descriptor, buffer.baseAddress, length, offsets[index])
                    if moved != length { hasFailed.store(true, ordering: .relaxed) }
                }
            }
        }
        threads.forEach { $0.join() }
        if kind == .write, fsync(descriptor) != 0 { throw TestBedError.lastSystemError("flush \(device)") }
        guard !hasFailed.load(ordering: .relaxed) else { throw TestBedError("\(device): an I/O error or a short one") }
        return value(
            count: min(done.load(ordering: .relaxed), count), seconds: Double(monotonicNanoseconds() - start) / 1e9)
    }
}
