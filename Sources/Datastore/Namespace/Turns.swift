import BlockStorage

/// Operations that change one directory, or the attributes of one file, take turns, in the order in which they came: the
/// attributes that each reports from before and after enclose no other operation of this server.
///
/// A turn is no lock: no other directory or file waits for it. Whoever has one may wait for the disk, but not for a call
/// that needs a turn of the same rank or a lower one; see ``LockRank``.
final class Turns: Sendable {
    /// What takes turns.
    typealias Key = OpenFile.Identity

    /// Keys whose waiters are woken together.
    private final class Group: @unchecked Sendable {
        /// The turns of one key, numbered in the order of arrival.
        struct Queue {
            var now: UInt64 = 0
            var end: UInt64 = 0
        }

        let monitor = Monitor()
        var queues: [Key: Queue] = [:]
    }

    private static let groupCount = 64
    private let groups = (0..<groupCount).map { _ in Group() }

    /// Calls `body` when it is its turn at `file`.
    func withTurn<R, E>(of file: OwnedDescriptor, _ body: () throws(E) -> R) throws(E) -> R {
        let rank = file.type == .directory ? LockRank.directoryTurn : .fileTurn
        LockRank.willLock(rank)
        take(file.key)
        defer {
            end(file.key)
            LockRank.didUnlock(rank)
        }
        return try body()
    }

    /// Calls `body` when it is its turn at both directories.
    func withTurns<R, E>(
        of first: OwnedDescriptor, _ second: OwnedDescriptor, _ body: () throws(E) -> R
    ) throws(E) -> R {
        // In one order everywhere, so that two such operations never wait for each other.
        let (low, high) = first.key < second.key ? (first.key, second.key) : (second.key, first.key)
        LockRank.willLock(.directoryTurn)
        take(low)
        if high != low { take(high) }
        defer {
            if high != low { end(high) }
            end(low)
            LockRank.didUnlock(.directoryTurn)
        }
        return try body()
    }

    private func take(_ key: Key) {
        let group = group(key)
        group.monitor.withLock {
            let number = group.queues[key, default: Group.Queue()].end
            group.queues[key, default: Group.Queue()].end += 1
            group.monitor.wait { group.queues[key]?.now != number }
        }
    }

    private func end(_ key: Key) {
        let group = group(key)
        group.monitor.withLock {
            guard var queue = group.queues[key] else { return }
            queue.now += 1
            group.queues[key] = queue.now < queue.end ? queue : nil
            group.monitor.broadcast()
        }
    }

    private func group(_ key: Key) -> Group {
        groups[Int(UInt(bitPattern: key.hashValue) % UInt(Self.groupCount))]
    }
}

extension OwnedDescriptor {
    fileprivate var key: Turns.Key { Turns.Key(device: device, inode: inode) }
}

extension OpenFile.Identity: Comparable {
    static func < (left: Self, right: Self) -> Bool { (left.device, left.inode) < (right.device, right.inode) }
}
