import Glibc

/// A lock with a condition variable: what `Synchronization.Mutex` has no counterpart of.
public final class Monitor: @unchecked Sendable {
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private let rank: LockRank

    /// An unlocked monitor; `rank` is its place in the order in which a thread takes several locks.
    public init(_ rank: LockRank = .leaf) {
        self.rank = rank
        pthread_mutex_init(mutex, nil)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(condition, &attributes)
        pthread_condattr_destroy(&attributes)
    }

    deinit {
        pthread_cond_destroy(condition)
        pthread_mutex_destroy(mutex)
        condition.deallocate()
        mutex.deallocate()
    }

    /// Runs `body` while holding the lock.
    public func withLock<Result, Failure: Error>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
        LockRank.willLock(rank)
        pthread_mutex_lock(mutex)
        defer {
            pthread_mutex_unlock(mutex)
            LockRank.didUnlock(rank)
        }
        return try body()
    }

    /// Gives the lock up until a signal comes, then takes it again. To be called inside ``withLock(_:)``; may return
    /// without a signal, so the caller tests its condition again.
    public func wait() {
        LockRank.willWait(for: "a monitor", holding: rank)
        pthread_cond_wait(condition, mutex)
    }

    /// As ``wait()``, for as long as `condition` holds; returns at once when it does not.
    public func wait(while condition: () -> Bool) {
        while condition() { wait() }
    }

    /// As ``wait()``, until `time` on the monotonic clock at the latest.
    public func wait(until time: timespec) {
        var time = time
        LockRank.willWait(for: "a condition", holding: rank)
        pthread_cond_timedwait(condition, mutex, &time)
    }

    /// Wakes one waiter.
    public func signal() {
        pthread_cond_signal(condition)
    }

    /// Wakes all waiters.
    public func broadcast() {
        pthread_cond_broadcast(condition)
    }
}
