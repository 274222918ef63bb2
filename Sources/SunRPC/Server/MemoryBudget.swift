import Synchronization

/// The memory for calls that were received and replies that are made or wait to be sent, of all connections.
///
/// A connection takes what a call and the longest reply to it need before the call is carried out. What does not fit
/// waits, and the connection reads nothing meanwhile. Clients get what becomes free in turn, the connections of each in
/// the order in which they asked. A client that has nothing gets what it asks for, whatever the others hold: no client
/// can keep another one out.
final class MemoryBudget: Sendable {
    private struct Waiter {
        let connection: RPCConnection
        let bytes: Int
    }

    private struct Client {
        var used = 0
        var waiters: [Waiter] = []
    }

    private struct State {
        var used = 0
        var mostUsed = 0
        /// By the client's number.
        var clients: [Client] = []
        /// The clients that have waiters; the next turn is the first's.
        var waiting: [Int] = []
    }

    private let total: Int
    private let share: Int
    private let state = Mutex(State())

    /// - Parameters:
    ///   - total: Bytes for all.
    ///   - share: The most of them for one client.
    init(total: Int, share: Int) {
        self.total = total
        self.share = share
    }

    /// The bytes taken now, and the most at a time since this was last asked.
    func takeFigures() -> (used: Int, mostUsed: Int) {
        state.withLock { state in
            defer { state.mostUsed = state.used }
            return (state.used, state.mostUsed)
        }
    }

    /// Takes `bytes` for a connection of `client`. When they are not there, false, and the connection is handed them
    /// later (``RPCConnection/takeRoom(_:)``), on its event loop.
    func take(_ bytes: Int, of client: Int, for connection: RPCConnection) -> Bool {
        state.withLock { state in
            while state.clients.count <= client { state.clients.append(Client()) }
            let mayOvertake = !state.waiting.contains { waitsForAll($0, state) }
            if state.clients[client].waiters.isEmpty, fits(bytes, client, state, mayOvertake: mayOvertake) {
                grant(bytes, client, &state)
                return true
            }
            if state.clients[client].waiters.isEmpty { state.waiting.append(client) }
            state.clients[client].waiters.append(Waiter(connection: connection, bytes: bytes))
            return false
        }
    }

    /// Gives bytes back that were taken.
    func give(_ bytes: Int, of client: Int) {
        let served = state.withLock { state -> [Waiter] in
            state.used -= bytes
            state.clients[client].used -= bytes
            return state.waiting.isEmpty ? [] : serve(&state)
        }
        handOver(served)
    }

    /// Forgets what a connection of `client` waits for, because it ends; false when that is on its way already.
    func stopWaiting(_ connection: RPCConnection, of client: Int) -> Bool {
        let (wasWaiting, served) = state.withLock { state -> (Bool, [Waiter]) in
            let count = state.clients[client].waiters.count
            state.clients[client].waiters.removeAll { $0.connection === connection }
            guard state.clients[client].waiters.count < count else { return (false, []) }
            if state.clients[client].waiters.isEmpty { state.waiting.removeAll { $0 == client } }
            return (true, serve(&state))
        }
        handOver(served)
        return wasWaiting
    }

    private func handOver(_ served: [Waiter]) {
        for waiter in served {
            waiter.connection.eventLoop.execute { waiter.connection.takeRoom(waiter.bytes) }
        }
    }

    private func fits(_ bytes: Int, _ client: Int, _ state: borrowing State, mayOvertake: Bool) -> Bool {
        let used = state.clients[client].used
        if used == 0 { return true }
        return mayOvertake && used + bytes <= share && state.used + bytes <= total
    }

    /// Whether a client that waits would get what it waits for if all together held less.
    private func waitsForAll(_ client: Int, _ state: borrowing State) -> Bool {
        guard let waiter = state.clients[client].waiters.first else { return false }
        return state.clients[client].used + waiter.bytes <= share
    }

    private func grant(_ bytes: Int, _ client: Int, _ state: inout State) {
        state.used += bytes
        state.clients[client].used += bytes
        state.mostUsed = max(state.mostUsed, state.used)
    }

    /// Hands out what is free, a client's turn after the other.
    private func serve(_ state: inout State) -> [Waiter] {
        var served: [Waiter] = []
        var turn = 0
        // Behind one who waits for all together to hold less nobody gets anything: it would wait for ever.
        var mayOvertake = true
        while turn < state.waiting.count {
            let client = state.waiting[turn]
            guard let waiter = state.clients[client].waiters.first else { break }
            guard fits(waiter.bytes, client, state, mayOvertake: mayOvertake) else {
                if waitsForAll(client, state) { mayOvertake = false }
                turn += 1
                continue
            }
            grant(waiter.bytes, client, &state)
            served.append(waiter)
            state.clients[client].waiters.removeFirst()
            state.waiting.remove(at: turn)
            if !state.clients[client].waiters.isEmpty { state.waiting.append(client) }
        }
        return served
    }
}
