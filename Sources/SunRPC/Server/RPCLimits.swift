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
    /// Most bytes in those calls, in the replies to them, and in replies that were not sent yet: 16 READs or WRITEs of
    /// 1 MiB at a time, whose buffers take twice that.
    public var maximumBytesInFlight = 64 << 20
    /// Most such bytes of all connections. What 32 threads work on at a time takes a quarter of it when everything is
    /// 1 MiB long; as much again is being received, waits for its turn, and is being sent. At the limit nothing is
    /// dropped: connections are not read from until others are done. Only what a client asks for that has nothing may go
    /// beyond, by ``maximumMemoryPerClient`` at most.
    public var maximumMemory = 256 << 20
    /// Most of those bytes of the connections of one client address, so that there is something left for another.
    public var maximumMemoryPerClient = 128 << 20
    /// Reply bytes waiting for one connection's client at which no further call of it is read …
    public var maximumUnsentBytes = 8 << 20
    /// … and at which reading goes on.
    public var resumeUnsentBytes = 4 << 20
    /// How long a client may leave replies unread that its socket does not take. Then the connection is closed, as
    /// Linux's own server does, and the client asks again on a new one.
    public var sendTimeout = TimeAmount.seconds(60)
    /// Most connections, over all listeners. When there are so many, the client address that has most loses the one
    /// that has been idle for longest to whoever comes, and one with calls in flight to an address that has none.
    public var maximumConnections = 1024
    /// Most connections of one client address; beyond that its own longest idle one makes room.
    public var maximumConnectionsPerClient = 256
    /// Whether a client's port has to be below 1024, which only root of its machine can have: then the user that a call
    /// names was named by root there, or by its kernel.
    public var requiresPrivilegedPorts = false
    /// How long a connection may be without a call before it is closed. Linux's server has the same six minutes, and
    /// every client connects again when it has something to ask.
    public var idleTimeout = TimeAmount.minutes(6)

    /// The limits as they are good for NFS with transfers up to 1 MiB.
    public init() {}
}
