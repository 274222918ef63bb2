import BlockStorage
import NIOCore

/// The open connections of a server, and the rule for who may become one.
///
/// One client address has so many at most. When the table is full, or a client has all that it may have, the
/// connection that has been idle for longest makes room: of the client that has most, so that one who opens connections
/// without end keeps nobody out, and of those who share a table the one with fewest is the last to lose any. A client
/// that has no connection gets one also when all are in use, from one that has several.
final class ConnectionRegistry: Sendable {
    struct Entry: Sendable {
        let connection: RPCConnection
        let channel: any Channel
    }

    /// Why somebody may not connect, in the words of the log.
    struct Refusal: Error {
        let reason: String
    }

    private struct Client {
        let number: Int
        /// The connections that are open, by their numbers.
        var entries: [Int: Entry] = [:]
        /// Numbers of connections that are not free yet, those of closed ones with calls in flight included.
        var taken = 0
    }

    private struct State {
        var clients: [String: Client] = [:]
        var openCount = 0
        var freeConnections: [Int] = []
        var connectionCount = 0
        var freeClients: [Int] = []
        var clientCount = 0
        var isClosed = false
    }

    /// `IPPORT_RESERVED`
    private static let firstUnprivilegedPort = 1024

    private let state = Locked(State())
    private let limits: RPCLimits
    private let isAllowed: @Sendable (SocketAddress) -> Bool

    init(limits: RPCLimits, isAllowed: @escaping @Sendable (SocketAddress) -> Bool) {
        self.limits = limits
        self.isAllowed = isAllowed
    }

    /// How many connections are open.
    var count: Int { state.withLock { $0.openCount } }

    /// Takes the connection in, and numbers it.
    func admit(_ connection: RPCConnection, on channel: any Channel) throws(Refusal) -> RPCSender {
        guard let address = channel.remoteAddress, isAllowed(address) else {
            throw Refusal(reason: "this address is not allowed")
        }
        if limits.requiresPrivilegedPorts, let port = address.port, port >= Self.firstUnprivilegedPort {
            throw Refusal(
                reason: "its port is not below 1024, so that anyone there may have sent it (--insecure allows that)")
        }
        let name = Self.name(address)
        let (sender, victim) = try state.withLock { (state) throws(Refusal) in
            if state.isClosed { throw Refusal(reason: "the server is shutting down") }
            let victim = try makeRoom(for: name, &state)
            return (enter(Entry(connection: connection, channel: channel), name, &state), victim)
        }
        if let victim { victim.channel.eventLoop.execute { victim.connection.makeRoom() } }
        return sender
    }

    /// Takes an ended connection out.
    func remove(_ sender: RPCSender, of address: SocketAddress?) {
        guard let address else { return }
        state.withLock { state in
            if state.clients[Self.name(address)]?.entries.removeValue(forKey: sender.connection) != nil {
                state.openCount -= 1
            }
        }
    }

    /// Lets others have the numbers of a connection that has ended and of which nothing is left to be done.
    func release(_ sender: RPCSender, of address: SocketAddress?) {
        guard let address else { return }
        let name = Self.name(address)
        state.withLock { state in
            state.freeConnections.append(sender.connection)
            state.clients[name]?.taken -= 1
            if state.clients[name]?.taken == 0 {
                state.clients[name] = nil
                state.freeClients.append(sender.client)
            }
        }
    }

    /// Admits nobody any more, and returns who is here.
    func close() -> [Entry] {
        state.withLock { state in
            state.isClosed = true
            return state.clients.values.flatMap { $0.entries.values }
        }
    }

    /// The address without the port; an IPv4 client is the same on a socket of either family.
    private static func name(_ address: SocketAddress) -> String {
        let text = address.ipAddress ?? "local"
        return text.hasPrefix("::ffff:") ? String(text.dropFirst("::ffff:".count)) : text
    }

    private func enter(_ entry: Entry, _ name: String, _ state: inout State) -> RPCSender {
        if state.clients[name] == nil {
            if state.freeClients.isEmpty {
                state.clientCount += 1
                state.freeClients.append(state.clientCount)
            }
            state.clients[name] = Client(number: state.freeClients.removeLast())
        }
        if state.freeConnections.isEmpty {
            state.connectionCount += 1
            state.freeConnections.append(state.connectionCount)
        }
        let sender = RPCSender(
            client: state.clients[name]?.number ?? 0, connection: state.freeConnections.removeLast())
        state.clients[name]?.entries[sender.connection] = entry
        state.clients[name]?.taken += 1
        state.openCount += 1
        return sender
    }

    /// Makes sure that one more of `name` fits; the connection that has to go for it has left the table.
    private func makeRoom(for name: String, _ state: inout State) throws(Refusal) -> Entry? {
        let own = state.clients[name]?.entries.count ?? 0
        let loser: String
        if own >= limits.maximumConnectionsPerClient {
            loser = name
        } else if state.openCount >= limits.maximumConnections {
            loser = state.clients.max { $0.value.entries.count < $1.value.entries.count }?.key ?? name
        } else {
            return nil
        }
        // Those with calls in flight are the last.
        let entries = state.clients[loser]?.entries ?? [:]
        let victim = entries.min { $0.value.connection.idleSince < $1.value.connection.idleSince }
        guard let victim,
            victim.value.connection.idleSince != RPCConnection.neverIdle || own == 0 && entries.count > 1
        else {
            throw Refusal(
                reason: loser == name && own >= limits.maximumConnectionsPerClient
                    ? "this address has \(own) connections already, all in use"
                    : "there are \(state.openCount) connections already, all in use")
        }
        state.clients[loser]?.entries[victim.key] = nil
        state.openCount -= 1
        return victim.value
    }
}
