import BlockStorage
import CLinux
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

    private let task = Locked<Task<Void, Never>?>(nil)

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
                    linux_give_back_memory()
                }
            }
        }
    }

    func stop() {
        task.withLock { $0?.cancel() }
    }
}
