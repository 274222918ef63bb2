import BlockStorage
import Glibc

/// Page-aligned memory of fixed size, straight from the operating system, which backs it as it is first touched.
final class Slab: @unchecked Sendable {
    let base: UnsafeMutableRawPointer
    private let byteCount: Int

    init?(byteCount: Int) {
        guard
            let base = mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
            base != MAP_FAILED
        else { return nil }
        self.base = base
        self.byteCount = byteCount
    }

    deinit {
        munmap(base, byteCount)
    }
}

/// The shards of a cache, each behind its lock. Locks cannot be copied, so they stand in memory of their own.
final class Shards: @unchecked Sendable {
    let count: Int
    private let locks: UnsafeMutablePointer<Locked<PageCacheShard>>

    /// The shards of `layout` (a power of two of them) in the memory of `slab`.
    init(_ layout: CacheLayout, slab: UnsafeMutableRawPointer, images: CacheImages, boundary: CacheBoundary) {
        count = layout.shardCount
        locks = .allocate(capacity: count)
        for number in 0..<count {
            let shard = PageCacheShard(
                layout.memory(ofShard: number, in: slab), shardCount: count, images: images, boundary: boundary)
            (locks + number).initialize(to: Locked(shard, .cache))
        }
    }

    deinit {
        locks.deinitialize(count: count)
        locks.deallocate()
    }

    func withShard<Result>(_ number: Int, _ body: (inout PageCacheShard) -> Result) -> Result {
        locks[number].withLock { shard in
            nonisolated(unsafe) let result = body(&shard)
            return result
        }
    }

    /// The shard of a group of pages; the group's number is mixed, so that a stride in the image does not meet one
    /// shard alone.
    func withShard<Result>(ofGroup group: Int, _ body: (inout PageCacheShard) -> Result) -> Result {
        let mixed = UInt64(truncatingIfNeeded: group) &* 0x9E37_79B9_7F4A_7C15
        return withShard(Int(truncatingIfNeeded: mixed >> 32) & (count - 1), body)
    }
}
