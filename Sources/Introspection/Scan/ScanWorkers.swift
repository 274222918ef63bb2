import BlockStorage
import Glibc
import Synchronization

/// A few threads that take pieces of one piece of work: the caller is one of them.
final class ScanWorkers: Sendable {
    /// The number of threads that work, the caller's included.
    let count: Int
    private let pool: IOPool?

    init(count: Int) {
        self.count = max(1, count)
        pool = count > 1 ? IOPool(name: "scan", threadCount: count - 1) : nil
    }

    /// Ends the threads.
    func shutDown() {
        pool?.shutDown()
    }

    /// Calls `body` with each of `items`, about in order, from all threads, and returns when all are done.
    ///
    /// `body` is also told which thread it runs on, from 0; that one is the caller's. `between` is called on the
    /// caller's thread between its pieces; when it returns false, pieces that were not begun are left out.
    func forEach(
        _ items: Int, between: () -> Bool, _ body: @Sendable (_ worker: Int, _ item: Int) -> Void
    ) {
        withoutActuallyEscaping(body) { body in
            let turn = Turn(items, body)
            let helpers = min(count, items) - 1
            if helpers > 0, let pool {
                for worker in 1...helpers {
                    pool.submit {
                        turn.work(as: worker)
                        turn.finish()
                    }
                }
            }
            turn.work(as: 0, between: between)
            if helpers > 0, pool != nil { turn.wait(for: helpers) }
            turn.end()
        }
    }
}

/// Whose turn it is, and who has finished.
private final class Turn: @unchecked Sendable {
    private let nextItem = Atomic<Int>(0)
    private let count: Int
    private let finished = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)
    /// Not touched after ``end()``, which is when the caller's closure must be let go.
    private var body: (@Sendable (Int, Int) -> Void)?

    init(_ count: Int, _ body: @escaping @Sendable (Int, Int) -> Void) {
        self.count = count
        self.body = body
        sem_init(finished, 0, 0)
    }

    deinit {
        sem_destroy(finished)
        finished.deallocate()
    }

    func work(as worker: Int, between: () -> Bool = { true }) {
        guard let body else { return }
        while true {
            let item = nextItem.wrappingAdd(1, ordering: .relaxed).oldValue
            guard item < count else { return }
            body(worker, item)
            if !between() { nextItem.store(count, ordering: .relaxed) }
        }
    }

    func finish() {
        sem_post(finished)
    }

    func wait(for helpers: Int) {
        for _ in 0..<helpers {
            while sem_wait(finished) != 0 {}
        }
    }

    func end() {
        body = nil
    }
}
