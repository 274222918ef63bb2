import NIOCore
import Synchronization

/// The open connections of a server, and the rule for who may become one.
final class ConnectionRegistry: Sendable {
    struct Entry: Sendable {
        let connection: RPCConnection
        let channel: any Channel
    }

    private struct State {
        var entries: [ObjectIdentifier: Entry] = [:]
        var isClosed = false
    }

    private let state = Mutex(State())
    private let maximum: Int
    private let isAllowed: @Sendable (SocketAddress) -> Bool

    init(maximum: Int, isAllowed: @escaping @Sendable (SocketAddress) -> Bool) {
        self.maximum = maximum
        self.isAllowed = isAllowed
    }

    /// Takes the connection in, or says why not.
    func admit(_ connection: RPCConnection, on channel: any Channel) -> String? {
        guard let address = channel.remoteAddress, isAllowed(address) else { return "this address is not allowed" }
        return state.withLock { state in
            if state.isClosed { return "the server is shutting down" }
            if state.entries.count >= maximum { return "there are \(maximum) connections already" }
            state.entries[ObjectIdentifier(connection)] = Entry(connection: connection, channel: channel)
            return nil
        }
    }

    func remove(_ connection: RPCConnection) {
        state.withLock { _ = $0.entries.removeValue(forKey: ObjectIdentifier(connection)) }
    }

    /// Admits nobody any more, and returns who is here.
    func close() -> [Entry] {
        state.withLock { state in
            state.isClosed = true
            return Array(state.entries.values)
        }
    }
}
