import NIOCore

/// The way back for the answer to one call. Exactly one of ``send(_:)``, ``fail(_:)`` and
/// ``closeConnection(because:)`` is called, once, from any thread.
public struct RPCResponder: Sendable {
    let connection: RPCConnection
    let xid: UInt32
    /// Bytes that are set aside for the call and its reply.
    let bytes: UInt32

    /// Where the results begin in a reply.
    public static let resultOffset = RPCReply.headerLength

    /// A reply that says that the call was carried out, with room for `capacity` bytes of results.
    public func makeReply(capacity: Int) -> XDRWriter {
        RPCReply.success(xid: xid, capacity: capacity)
    }

    /// Sends a reply that ``makeReply(capacity:)`` began.
    public func send(_ reply: consuming XDRWriter) {
        connection.answer(RPCReply.seal(reply), bytes: Int(bytes))
    }

    /// Answers that the call was not carried out.
    public func fail(_ failure: RPCFailure) {
        connection.answer(RPCReply.failure(xid: xid, failure), bytes: Int(bytes))
    }

    /// Gives no answer and closes the connection, so that the client asks again on another: for what no answer tells.
    public func closeConnection(because reason: String) {
        connection.closeInsteadOfAnswering(because: reason, bytes: Int(bytes))
    }
}
