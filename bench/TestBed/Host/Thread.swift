import Glibc

/// A thread of the operating system, for work that blocks.
public struct Thread: Sendable {
    private let handle: pthread_t

    private final class Work {
        let body: @Sendable () -> Void

        init(_ body: @escaping @Sendable () -> Void) {
            self.body = body
        }
    }

    /// Starts a thread that runs `body`.
    public static func start(_ body: @escaping @Sendable () -> Void) -> Thread {
        var handle = pthread_t()
        let status = pthread_create(
            &handle, nil,
            { argument in
                guard let argument else { return nil }
                Unmanaged<Work>.fromOpaque(argument).takeRetainedValue().body()
                return nil
            }, Unmanaged.passRetained(Work(body)).toOpaque())
        guard status == 0 else { fatalError("cannot start a thread: \(String(cString: strerror(status)))") }
        return Thread(handle: handle)
    }

    /// Waits for its end.
    public func join() {
        pthread_join(handle, nil)
    }

    /// Lets it end by itself.
    public func detach() {
        pthread_detach(handle)
    }
}
