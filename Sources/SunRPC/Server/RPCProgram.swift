public import NIOCore

/// An RPC program: NFS, MOUNT and the like.
public protocol RPCProgram: Sendable {
    /// Its number, as rpcbind and every call name it.
    var number: UInt32 { get }
    /// Its name, for people.
    var name: String { get }
    /// The versions that it serves.
    var versions: ClosedRange<UInt32> { get }
    /// Carries out one call of one of those versions, and answers it through `responder`, once.
    ///
    /// Called on the event loop of the connection: it must not block. It may answer before it returns, which costs
    /// least, or later and from any thread. The order of the answers is free.
    func handle(_ call: RPCCall, _ responder: RPCResponder)
    /// Called when the calls that had been received together were handed out, after the last of them, unless all were
    /// answered at once. A program that hands calls on to another hands this on, too: else they may wait for ever.
    func endBatch()
    /// About the most bytes that the reply to a call can have, results alone; the memory for them is set aside before
    /// the call is carried out. Any bytes may be in `arguments`.
    func mostReplyBytes(procedure: UInt32, arguments: ByteBuffer) -> Int
}

extension RPCProgram {
    /// Does nothing.
    public func endBatch() {}

    /// A few words.
    public func mostReplyBytes(procedure: UInt32, arguments: ByteBuffer) -> Int { 400 }
}

/// Which connection a call came by, and which client address that belongs to: small numbers, used again when they are
/// free, those of clients from 1 on.
public struct RPCSender: Hashable, Sendable {
    /// The client's address.
    public let client: Int
    /// The connection, over all clients.
    public let connection: Int
}

/// One call, as a program sees it.
public struct RPCCall: Sendable {
    /// The caller's number for this call.
    public let xid: UInt32
    /// The program called.
    public let program: UInt32
    /// The version of the program, one that it serves.
    public let version: UInt32
    /// The procedure; any number.
    public let procedure: UInt32
    /// Who calls.
    public let credential: RPCCredential
    /// The arguments, unchecked: a slice of the received bytes.
    public let arguments: ByteBuffer
    /// Where the connection comes from.
    public let remoteAddress: SocketAddress?
    /// Who shares threads and memory with others.
    public let sender: RPCSender
    /// The event loop of the connection.
    public let eventLoop: any EventLoop

    /// A slice of the arguments without a copy: `range` as `XDRReader.opaqueRange(max:)` returned it.
    public func argumentSlice(_ range: Range<Int>) -> ByteBuffer? {
        arguments.getSlice(at: arguments.readerIndex + range.lowerBound, length: range.count)
    }
}
