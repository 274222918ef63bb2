import Glibc

/// One of a fixed number of locks for each file or directory: an operation that changes one holds its lock, so that
/// the attributes it reports from before and after enclose no other operation of this server.
final class StripedLocks: @unchecked Sendable {
    private static let count = 256
    private let mutexes = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: count)

    init() {
        for index in 0..<Self.count { pthread_mutex_init(mutexes + index, nil) }
    }

    deinit {
        for index in 0..<Self.count { pthread_mutex_destroy(mutexes + index) }
        mutexes.deallocate()
    }

    /// Calls `body` with the lock of `file` held.
    func withLock<R, E>(of file: OwnedDescriptor, _ body: () throws(E) -> R) throws(E) -> R {
        let mutex = mutexes + stripe(file)
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return try body()
    }

    /// Calls `body` with the locks of both files held.
    func withLocks<R, E>(
        of first: OwnedDescriptor, _ second: OwnedDescriptor, _ body: () throws(E) -> R
    ) throws(E) -> R {
        let low = min(stripe(first), stripe(second))
        let high = max(stripe(first), stripe(second))
        pthread_mutex_lock(mutexes + low)
        if high != low { pthread_mutex_lock(mutexes + high) }
        defer {
            if high != low { pthread_mutex_unlock(mutexes + high) }
            pthread_mutex_unlock(mutexes + low)
        }
        return try body()
    }

    private func stripe(_ file: OwnedDescriptor) -> Int {
        var hasher = Hasher()
        hasher.combine(file.device)
        hasher.combine(file.inode)
        return Int(UInt(bitPattern: hasher.finalize()) % UInt(Self.count))
    }
}
