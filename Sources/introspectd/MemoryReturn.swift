import BlockStorage
import CLinux
import Dispatch
import SunRPC

/// Gives memory back to the system that calls and replies do not use any more.
///
/// malloc() keeps freed memory for the next buffers, which saves a page fault for each of their pages, and never looks at
/// it again. So when a load has come to its end, what it has left is given back, once.
final class MemoryReturn: Sendable {
    /// A load that is worth it, in bytes …
    private static let load = 16 << 20
    /// … and what is left of it when it is over.
    private static let rest = 4 << 20
    private static let interval = Duration.seconds(5)
    /// Bytes of freed buffers that a heap of malloc() keeps for the next.
    private static let kept = 64 << 20

    private let task = Locked<Task<Void, Never>?>(nil)

    /// Has freed memory kept for the buffers to come: without it replies of a megabyte cost as much in page faults as in
    /// copying.
    static func keepFreedMemory() { linux_keep_freed_memory(kept) }

    /// Watches `server` until ``stop()``.
    func start(_ server: RPCServer) {
        task.withLock { task in
            task = Task.detached {
                var isLoaded = false
                while (try? await Task.sleep(for: Self.interval)) != nil {
                    let (used, mostUsed) = server.takeMemoryFigures()
                    isLoaded = isLoaded || mostUsed >= Self.load
                    guard isLoaded, used <= Self.rest, mostUsed <= Self.rest else { continue }
                    isLoaded = false
                    // That takes a moment, for which none of the threads that tasks share is to be missing.
                    DispatchQueue.global(qos: .utility).async { linux_give_back_memory(Self.kept) }
                }
            }
        }
    }

    func stop() {
        task.withLock { $0?.cancel() }
    }
}
