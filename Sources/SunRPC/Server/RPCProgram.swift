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
    /// The event loop of the connection.
    public let eventLoop: any EventLoop

    /// A slice of the arguments without a copy: `range` as `XDRReader.opaqueRange(max:)` returned it.
    public func argumentSlice(_ range: Range<Int>) -> ByteBuffer? {
        arguments.getSlice(at: arguments.readerIndex + range.lowerBound, length: range.count)
    }
}
