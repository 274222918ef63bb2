public import Glibc

/// A value that one thread at a time gets at: `Synchronization.Mutex` with another lock inside.
///
/// On Linux that one is a priority-inheriting futex, which is handed to whoever has waited longest. As soon as threads
/// stand in line each turn takes a change of threads, nobody gets past the line, and it stays for as long as the load
/// does. This lock may be taken by a thread that runs before those that would have to wake up first.
public struct Locked<Value: ~Copyable>: ~Copyable, @unchecked Sendable {
    @usableFromInline let mutex: UnsafeMutablePointer<pthread_mutex_t>
    @usableFromInline let value: UnsafeMutablePointer<Value>
    #if DEBUG
        @usableFromInline let rank: LockRank
    #else
        @usableFromInline var rank: LockRank { .leaf }
    #endif

    /// Locks `value` away; `rank` is the lock's place in the order in which a thread takes several.
    @inlinable public init(_ value: consuming sending Value, _ rank: LockRank = .leaf) {
        #if DEBUG
            self.rank = rank
        #endif
        mutex = .allocate(capacity: 1)
        Self.initialize(mutex)
        self.value = .allocate(capacity: 1)
        self.value.initialize(to: value)
    }

    @inlinable deinit {
        value.deinitialize(count: 1)
        value.deallocate()
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }

    /// In a build without optimisation, locking twice is found out instead of never ending.
    @usableFromInline static func initialize(_ mutex: UnsafeMutablePointer<pthread_mutex_t>) {
        var attributes = pthread_mutexattr_t()
        pthread_mutexattr_init(&attributes)
        defer { pthread_mutexattr_destroy(&attributes) }
        #if DEBUG
            pthread_mutexattr_settype(&attributes, Int32(PTHREAD_MUTEX_ERRORCHECK))
        #endif
        pthread_mutex_init(mutex, &attributes)
    }

    /// Runs `body` with the value, alone.
    @inlinable public borrowing func withLock<Result: ~Copyable, Failure: Error>(
        _ body: (inout sending Value) throws(Failure) -> sending Result
    ) throws(Failure) -> sending Result {
        LockRank.willLock(rank)
        let status = pthread_mutex_lock(mutex)
        precondition(status == 0, "locked by the same thread already")
        defer {
            pthread_mutex_unlock(mutex)
            LockRank.didUnlock(rank)
        }
        return try body(&value.pointee)
    }

    /// As ``withLock(_:)``, unless somebody else is at it: nil then.
    @inlinable public borrowing func withLockIfAvailable<Result: ~Copyable, Failure: Error>(
        _ body: (inout sending Value) throws(Failure) -> sending Result
    ) throws(Failure) -> sending Result? {
        guard pthread_mutex_trylock(mutex) == 0 else { return nil }
        LockRank.willLock(rank)
        defer {
            pthread_mutex_unlock(mutex)
            LockRank.didUnlock(rank)
        }
        return try body(&value.pointee)
    }
}
