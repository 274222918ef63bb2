public import NIOCore

/// What a server grants its clients, so that none of them can take more memory or time than this.
public struct RPCLimits: Sendable {
    /// Most bytes in one call: an NFS WRITE of 1 MiB with its header fits.
    public var maximumRecordLength = 1 << 20 + 64 << 10
    /// Most fragments in one call.
    public var maximumFragments = 2048
    /// How long a call may take to arrive, from its first byte to its last.
    public var recordTimeout = TimeAmount.seconds(30)
    /// Most calls of one connection that are being carried out. Further ones wait in the socket.
    public var maximumCallsInFlight = 256
    /// Most bytes in those calls.
    public var maximumBytesInFlight = 32 << 20
    /// Reply bytes waiting for one connection's client at which no further call of it is read …
    public var maximumUnsentBytes = 8 << 20
    /// … and at which reading goes on.
    public var resumeUnsentBytes = 4 << 20
    /// Most connections, over all listeners.
    public var maximumConnections = 1024

    /// The limits as they are good for NFS with transfers up to 1 MiB.
    public init() {}
}
