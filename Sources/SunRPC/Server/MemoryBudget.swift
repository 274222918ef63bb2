import BlockStorage

/// The memory for calls that were received and replies that are made or wait to be sent, of all connections.
///
/// A connection takes what a call and the longest reply to it need before the call is carried out. What does not fit
/// waits, and the connection reads nothing meanwhile. Clients get what becomes free in turn, the connections of each in
/// the order in which they asked. A client that has nothing gets what it asks for although all is taken, from a reserve
/// as large as one client's share: no client can keep another one out, and many that come at once take no more than that.
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

    /// Who stands in front of somebody who asks.
    private struct Line {
        /// Somebody who waits for all together to hold less: would others get something first, it would wait for ever.
        var isWaitedFor = false
        /// The same of somebody who has nothing.
        var isWaitedForByNewcomer = false
    }

    private let total: Int
    private let share: Int
    private let state = Locked(State())

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
            var line = Line()
            for other in state.waiting { join(other, &line, state) }
            if state.clients[client].waiters.isEmpty, fits(bytes, client, state, behind: line) {
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

    private func fits(_ bytes: Int, _ client: Int, _ state: borrowing State, behind line: Line) -> Bool {
        let used = state.clients[client].used
        guard used > 0 else {
            // Whatever it is, when nobody else has anything it must be granted.
            return !line.isWaitedForByNewcomer && (state.used == 0 || state.used + bytes <= total + share)
        }
        return !line.isWaitedFor && used + bytes <= share && state.used + bytes <= total
    }

    /// Puts a client that waits into `line`; it does not count there when it waits for itself to hold less.
    private func join(_ client: Int, _ line: inout Line, _ state: borrowing State) {
        guard let waiter = state.clients[client].waiters.first else { return }
        let used = state.clients[client].used
        if used == 0 { line.isWaitedForByNewcomer = true }
        if used == 0 || used + waiter.bytes <= share { line.isWaitedFor = true }
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
        var line = Line()
        while turn < state.waiting.count {
            let client = state.waiting[turn]
            guard let waiter = state.clients[client].waiters.first else { break }
            guard fits(waiter.bytes, client, state, behind: line) else {
                join(client, &line, state)
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
