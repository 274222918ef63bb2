import NIOCore

/// The way back for the answer to one call. Exactly one of ``send(_:)`` and ``fail(_:)`` is called, once, from any thread.
public struct RPCResponder: Sendable {
    let connection: RPCConnection
    let xid: UInt32
    /// Bytes of the call, counted against the connection's limit until it is answered.
    let callLength: UInt32

    /// A reply that says that the call was carried out, with room for `capacity` bytes of results.
    public func makeReply(capacity: Int) -> XDRWriter {
        RPCReply.success(xid: xid, capacity: capacity)
    }

    /// Sends a reply that ``makeReply(capacity:)`` began.
    public func send(_ reply: consuming XDRWriter) {
        connection.answer(RPCReply.seal(reply), callLength: Int(callLength))
    }

    /// Answers that the call was not carried out.
    public func fail(_ failure: RPCFailure) {
        connection.answer(RPCReply.failure(xid: xid, failure), callLength: Int(callLength))
    }
}
