/// Why a program could not be registered with rpcbind.
public struct PortmapError: Error, Hashable, Sendable {
    /// What went wrong.
    public enum Code: Hashable, Sendable {
        /// Nothing answers where rpcbind would.
        case notRunning
        /// `/etc/netconfig` does not know the transport.
        case unknownTransport
        /// Another server is registered, and answers.
        case taken
        /// rpcbind said no: the registration belongs to another user, or this user may not register at all.
        case refused
    }

    /// What went wrong.
    public let code: Code
    /// One line for a person: what was tried, and what would help.
    public let message: String
}

extension PortmapError: CustomStringConvertible {
    /// The message.
    public var description: String { message }
}
