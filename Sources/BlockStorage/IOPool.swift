import CLinux
import Glibc
import Synchronization

/// A fixed number of threads for work that blocks: file I/O and what needs its result.
///
/// Work is taken in the order of submission. ``shutDown()`` runs what was submitted before it and returns when
/// the last of it is done; work submitted later is not run.
public final class IOPool: Sendable {
    /// A piece of work; it may block its thread.
    public typealias Work = @Sendable () -> Void

    private let queue: WorkQueue
    private let threads: [pthread_t]

    /// Starts `threadCount` threads, which `name` (15 bytes at most) identifies in `ps -L`.
    ///
    /// - Parameter niceness: How much they stand back behind others that want the processor, from 0 to 19 (`nice(1)`);
    ///   so do threads that they start.
    public init(name: String, threadCount: Int, niceness: Int32 = 0) {
        precondition(threadCount > 0)
        let queue = WorkQueue(name: name, niceness: niceness)
        self.queue = queue
        threads = (0..<threadCount).map { _ in Self.startThread(queue) }
    }

    /// Hands `work` to the first thread that is idle.
    public func submit(_ work: @escaping Work) {
        queue.append(work)
    }

    /// Waits for all submitted work and ends the threads. Must not be called from one of them.
    public func shutDown() {
        guard queue.close() else { return }
        for thread in threads {
            pthread_join(thread, nil)
        }
    }

    private static func startThread(_ queue: WorkQueue) -> pthread_t {
        let start = Unmanaged.passRetained(queue)
        var thread = pthread_t()
        let status = pthread_create(
            &thread, nil,
            { argument in
                guard let argument else { return nil }
                let queue = Unmanaged<WorkQueue>.fromOpaque(argument).takeRetainedValue()
                linux_set_thread_name(queue.name)
                // Linux takes 0 for the calling thread.
                if queue.niceness > 0 { setpriority(Int32(PRIO_PROCESS.rawValue), 0, queue.niceness) }
                while let work = queue.next() {
                    work()
                }
                return nil
            }, start.toOpaque())
        guard status == 0 else { fatalError("cannot start an I/O thread: \(String(cString: strerror(status)))") }
        return thread
    }
}

/// The work that waits for a thread.
private final class WorkQueue: @unchecked Sendable {
    let name: String
    let niceness: Int32
    private let monitor = Monitor()
    private var items: [IOPool.Work?] = []
    private var head = 0
    private var isClosed = false

    init(name: String, niceness: Int32) {
        self.name = name
        self.niceness = niceness
    }

    func append(_ work: @escaping IOPool.Work) {
        monitor.withLock {
            guard !isClosed else { return }
            items.append(work)
            monitor.signal()
        }
    }

    /// The next piece of work; waits for one, and returns nil when the queue is closed and empty.
    func next() -> IOPool.Work? {
        monitor.withLock {
            while head == items.count, !isClosed {
                monitor.wait()
            }
            guard head < items.count else { return nil }
            let work = items[head]
            items[head] = nil
            head += 1
            compact()
            return work
        }
    }

    /// Returns whether this call is the one that closed the queue.
    func close() -> Bool {
        monitor.withLock {
            guard !isClosed else { return false }
            isClosed = true
            monitor.broadcast()
            return true
        }
    }

    private func compact() {
        if head == items.count {
            items.removeAll(keepingCapacity: true)
            head = 0
        } else if head >= 1024, head * 2 >= items.count {
            items.removeFirst(head)
            head = 0
        }
    }
}
