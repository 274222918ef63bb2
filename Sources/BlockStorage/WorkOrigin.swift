/// Whose work a piece of work is: an ``IOPool`` shares its threads out between clients, and what a client gets between
/// the client's connections.
///
/// The numbers are small and used again: a pool keeps a place for each up to the largest that it has seen.
public struct WorkOrigin: Hashable, Sendable {
    /// The client, from 1 on.
    public let client: Int
    /// The connection, over all clients.
    public let connection: Int

    /// Work that no client asked for: it may have every thread.
    public static let server = WorkOrigin(client: 0, connection: 0)

    /// Work of a connection of a client.
    public init(client: Int, connection: Int) {
        self.client = client
        self.connection = connection
    }
}
