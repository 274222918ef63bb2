import CLinux
import Glibc
import Synchronization

/// A fixed number of threads for work that blocks: file I/O and what needs its result.
///
/// Work is taken in the order of submission. One thread at a time is woken, and wakes the next if there is more to do
/// then: many short pieces of work are done by the few threads that run, and those that block make room for others.
/// ``shutDown()`` runs what was submitted before it and returns when the last of it is done; work submitted later is
/// not run.
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
                let thread = IdleThread()
                while let work = queue.next(thread) {
                    work()
                }
                return nil
            }, start.toOpaque())
        guard status == 0 else { fatalError("cannot start an I/O thread: \(String(cString: strerror(status)))") }
        return thread
    }
}

/// The work that waits for a thread, and the threads that wait for work.
private final class WorkQueue: Sendable {
    private struct State {
        var items: [IOPool.Work?] = []
        var head = 0
        var isClosed = false
        /// The last to have worked is the first to work again: what it needs is still in its processor's cache.
        var idle: [IdleThread] = []
        /// Whether a thread was woken that has not looked for work since.
        var isWaking = false

        /// The next piece of work.
        mutating func take() -> IOPool.Work? {
            guard head < items.count else { return nil }
            let work = items[head]
            items[head] = nil
            head += 1
            compact()
            return work
        }

        private mutating func compact() {
            if head == items.count {
                items.removeAll(keepingCapacity: true)
                head = 0
            } else if head >= 1024, head * 2 >= items.count {
                items.removeFirst(head)
                head = 0
            }
        }

        /// The thread to wake: there is work, and none is on its way.
        mutating func threadToWake() -> IdleThread? {
            guard head < items.count, !isWaking, let thread = idle.popLast() else { return nil }
            isWaking = true
            return thread
        }
    }

    private enum Step {
        case work(IOPool.Work, wake: IdleThread?)
        case sleep
        case end
    }

    let name: String
    let niceness: Int32
    private let state = Locked(State())

    init(name: String, niceness: Int32) {
        self.name = name
        self.niceness = niceness
    }

    func append(_ work: @escaping IOPool.Work) {
        let thread = state.withLock { state -> IdleThread? in
            guard !state.isClosed else { return nil }
            state.items.append(work)
            return state.threadToWake()
        }
        thread?.wake()
    }

    /// The next piece of work for `thread`; waits for one, and returns nil when the queue is closed and empty.
    func next(_ thread: IdleThread) -> IOPool.Work? {
        var wasWoken = false
        while true {
            switch state.withLock({ nextStep(of: thread, wasWoken: wasWoken, &$0) }) {
            case .work(let work, let other):
                other?.wake()
                return work
            case .sleep:
                thread.sleep()
                wasWoken = true
            case .end:
                return nil
            }
        }
    }

    private func nextStep(of thread: IdleThread, wasWoken: Bool, _ state: inout State) -> Step {
        if wasWoken { state.isWaking = false }
        if let work = state.take() { return .work(work, wake: state.threadToWake()) }
        guard !state.isClosed else { return .end }
        state.idle.append(thread)
        return .sleep
    }

    /// Returns whether this call is the one that closed the queue.
    func close() -> Bool {
        let idle = state.withLock { state -> [IdleThread]? in
            guard !state.isClosed else { return nil }
            state.isClosed = true
            defer { state.idle = [] }
            return state.idle
        }
        idle?.forEach { $0.wake() }
        return idle != nil
    }
}

/// Where one thread waits until there is work for it.
private final class IdleThread: @unchecked Sendable {
    private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)

    init() {
        sem_init(semaphore, 0, 0)
    }

    deinit {
        sem_destroy(semaphore)
        semaphore.deallocate()
    }

    func wake() {
        sem_post(semaphore)
    }

    func sleep() {
        while sem_wait(semaphore) != 0, errno == EINTR {}
    }
}
