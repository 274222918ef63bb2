import CLinux
import Glibc
import Synchronization

/// A fixed number of threads for work that blocks: file I/O and what needs its result.
///
/// Work of one origin is taken in the order of submission, that of several in the order that is fair to them
/// (``WorkOrigin``). One thread at a time is woken, and wakes the next if there is more to do then: many short pieces of
/// work are done by the few threads that run, and those that block make room for others.
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
        let queue = WorkQueue(name: name, niceness: niceness, threadCount: threadCount)
        self.queue = queue
        threads = (0..<threadCount).map { _ in Self.startThread(queue) }
    }

    /// Hands `work` to a thread when it is its turn.
    public func submit(of origin: WorkOrigin = .server, _ work: @escaping Work) {
        queue.append(work, of: origin)
    }

    /// As ``submit(of:_:)`` for work of which there will be more at once, until ``endBatch()``: the first piece wakes a
    /// thread, and no other does that meanwhile, which would find work for no longer than it took to wake. What comes while
    /// another's batch is open waits for the end of either.
    public func submitInBatch(of origin: WorkOrigin, _ work: @escaping Work) {
        queue.append(work, of: origin, inBatch: true)
    }

    /// See ``submitInBatch(of:_:)``.
    public func endBatch() { queue.endBatch() }

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
                var done: WorkQueue.Begun?
                while let next = queue.next(thread, after: done) {
                    next.work()
                    done = next.begun
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
        var items: FairQueue<IOPool.Work>
        var isClosed = false
        /// The last to have worked is the first to work again: what it needs is still in its processor's cache.
        var idle: [IdleThread] = []
        /// Whether a thread was woken that has not looked for work since.
        var isWaking = false
        /// Whether more work is about to come, and a thread was woken for it.
        var isInBatch = false

        /// The thread to wake: there is work, and none is on its way.
        mutating func threadToWake() -> IdleThread? {
            guard items.count > 0, !isWaking, !idle.isEmpty, items.hasNext else { return nil }
            isWaking = true
            return idle.popLast()
        }
    }

    /// Work that a thread has begun: whose it is, and when.
    struct Begun {
        let origin: WorkOrigin
        let time: Int
    }

    private enum Step {
        case work(IOPool.Work, of: WorkOrigin, wake: IdleThread?)
        case sleep
        case end
    }

    let name: String
    let niceness: Int32
    private let state: Locked<State>

    init(name: String, niceness: Int32, threadCount: Int) {
        self.name = name
        self.niceness = niceness
        state = Locked(State(items: FairQueue(threadCount: threadCount)))
    }

    func append(_ work: @escaping IOPool.Work, of origin: WorkOrigin, inBatch: Bool = false) {
        let thread = state.withLock { state -> IdleThread? in
            guard !state.isClosed else { return nil }
            state.items.append(work, of: origin)
            guard inBatch else { return state.threadToWake() }
            defer { state.isInBatch = true }
            return state.isInBatch ? nil : state.threadToWake()
        }
        thread?.wake()
    }

    func endBatch() {
        let thread = state.withLock { state -> IdleThread? in
            guard state.isInBatch else { return nil }
            state.isInBatch = false
            return state.threadToWake()
        }
        thread?.wake()
    }

    /// The next piece of work for `thread`, which has `done` another; waits for one, and returns nil when the queue is
    /// closed and empty.
    func next(_ thread: IdleThread, after done: Begun?) -> (work: IOPool.Work, begun: Begun)? {
        var now = Self.now
        var done = done
        var wasWoken = false
        while true {
            let step = state.withLock { state in
                if let done = done.take() { state.items.end(done.origin, after: now - done.time) }
                return nextStep(of: thread, wasWoken: wasWoken, &state)
            }
            switch step {
            case .work(let work, let origin, let other):
                other?.wake()
                return (work, Begun(origin: origin, time: now))
            case .sleep:
                thread.sleep()
                now = Self.now
                wasWoken = true
            case .end:
                return nil
            }
        }
    }

    private static var now: Int {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return time.tv_sec * 1_000_000_000 + time.tv_nsec
    }

    private func nextStep(of thread: IdleThread, wasWoken: Bool, _ state: inout State) -> Step {
        if wasWoken { state.isWaking = false }
        if let (work, origin) = state.items.next() { return .work(work, of: origin, wake: state.threadToWake()) }
        // Of a closed queue what is left is what another thread may not begin yet, and will when it is done.
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
