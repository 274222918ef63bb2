/// Work that waits for threads, in the order that is fair to those who sent it.
///
/// Who has had least of the threads' time goes next: first among clients, then among the connections of that client,
/// whose own work keeps its order. So one that asks for little waits for nobody's backlog, however many connections
/// the backlog has come in by; and some threads are left for others whatever one client sends, for its work may block
/// for long. Time is counted as start-time fair queueing does (Goyal et al., SIGCOMM '96): somebody who had nothing to
/// do goes on from where the others are, and can save up nothing.
struct FairQueue<Element> {
    private struct Node {
        var element: Element?
        var next: Int
    }

    /// One of those that share: a client, or a connection of one.
    private struct Sharer {
        /// The threads' time that it is counted to have had.
        var time = 0
        /// Where it is in the list of those who have work waiting.
        var place: Int?
    }

    private struct Connection {
        var sharer = Sharer()
        var first = -1
        var last = -1
    }

    private struct Client {
        var sharer = Sharer()
        /// Its connections that have work waiting.
        var waiting: [Int] = []
        /// The time of the one that was last begun.
        var clock = 0
        /// Pieces of its work that threads have now.
        var running = 0
    }

    /// What each piece of work is counted as at its beginning; the rest follows at its end.
    private static var leastTime: Int { 20_000 }
    /// How far ahead of the others one may be who begins again: enough to be the next.
    private static var advance: Int { 1_000_000 }
    /// How far behind: what was used long ago is forgotten.
    private static var mostDebt: Int { 1_000_000_000 }

    private var nodes: [Node] = []
    private var free = -1
    private var clients: [Client] = []
    private var connections: [Connection] = []
    /// The clients that have work waiting.
    private var waiting: [Int] = []
    private var clock = 0
    /// The most threads that one client has at a time.
    private let mostThreads: Int

    /// How many pieces of work wait.
    private(set) var count = 0

    /// - Parameter threadCount: The threads that take from it; an eighth, but at least one, is left to others than
    ///   any one client.
    init(threadCount: Int) {
        mostThreads = max(1, threadCount - max(1, threadCount / 8))
    }

    /// Puts `element` behind what its connection sent before.
    mutating func append(_ element: Element, of origin: WorkOrigin) {
        makePlaces(for: origin)
        let node = takeNode(element)
        count += 1
        if connections[origin.connection].last >= 0 {
            nodes[connections[origin.connection].last].next = node
            connections[origin.connection].last = node
            return
        }
        connections[origin.connection].first = node
        connections[origin.connection].last = node
        if clients[origin.client].waiting.isEmpty {
            clients[origin.client].sharer.place = waiting.count
            waiting.append(origin.client)
            Self.goOn(&clients[origin.client].sharer, from: clock)
        }
        connections[origin.connection].sharer.place = clients[origin.client].waiting.count
        clients[origin.client].waiting.append(origin.connection)
        Self.goOn(&connections[origin.connection].sharer, from: clients[origin.client].clock)
    }

    /// Whether there is work that a thread may begin now.
    var hasNext: Bool { waiting.contains { mayBegin($0) } }

    /// Takes the work that goes next; ``end(_:after:)`` is to be told of it when it is done.
    mutating func next() -> (element: Element, origin: WorkOrigin)? {
        guard let client = firstClient() else { return nil }
        let connection = firstConnection(of: client)
        let node = connections[connection].first
        guard node >= 0, let element = nodes[node].element.take() else { return nil }

        connections[connection].first = nodes[node].next
        if nodes[node].next < 0 {
            connections[connection].last = -1
            leave(connection, of: client)
        }
        freeNode(node)
        count -= 1

        clock = max(clock, clients[client].sharer.time)
        clients[client].clock = max(clients[client].clock, connections[connection].sharer.time)
        clients[client].sharer.time += Self.leastTime
        connections[connection].sharer.time += Self.leastTime
        clients[client].running += 1
        return (element, WorkOrigin(client: client, connection: connection))
    }

    /// Counts a thread's time for work that is done, in nanoseconds.
    mutating func end(_ origin: WorkOrigin, after nanoseconds: Int) {
        let rest = max(0, nanoseconds - Self.leastTime)
        clients[origin.client].running -= 1
        clients[origin.client].sharer.time += rest
        connections[origin.connection].sharer.time += rest
    }

    private func mayBegin(_ client: Int) -> Bool {
        client == WorkOrigin.server.client || clients[client].running < mostThreads
    }

    private func firstClient() -> Int? {
        var first: Int?
        for client in waiting where mayBegin(client) {
            if let other = first, clients[other].sharer.time <= clients[client].sharer.time { continue }
            first = client
        }
        return first
    }

    private func firstConnection(of client: Int) -> Int {
        var first = clients[client].waiting[0]
        for connection in clients[client].waiting.dropFirst()
        where connections[connection].sharer.time < connections[first].sharer.time {
            first = connection
        }
        return first
    }

    private static func goOn(_ sharer: inout Sharer, from clock: Int) {
        sharer.time = min(max(sharer.time, clock - advance), clock + mostDebt)
    }

    /// Takes a connection that has no more work out of the lists, and its client when that was the only one.
    private mutating func leave(_ connection: Int, of client: Int) {
        if let place = connections[connection].sharer.place.take() {
            clients[client].waiting.swapAt(place, clients[client].waiting.count - 1)
            clients[client].waiting.removeLast()
            if place < clients[client].waiting.count {
                connections[clients[client].waiting[place]].sharer.place = place
            }
        }
        guard clients[client].waiting.isEmpty, let place = clients[client].sharer.place.take() else { return }
        waiting.swapAt(place, waiting.count - 1)
        waiting.removeLast()
        if place < waiting.count { clients[waiting[place]].sharer.place = place }
    }

    private mutating func makePlaces(for origin: WorkOrigin) {
        while clients.count <= origin.client { clients.append(Client()) }
        while connections.count <= origin.connection { connections.append(Connection()) }
    }

    private mutating func takeNode(_ element: Element) -> Int {
        guard free >= 0 else {
            nodes.append(Node(element: element, next: -1))
            return nodes.count - 1
        }
        let node = free
        free = nodes[node].next
        nodes[node] = Node(element: element, next: -1)
        return node
    }

    private mutating func freeNode(_ node: Int) {
        nodes[node] = Node(element: nil, next: free)
        free = node
    }
}
