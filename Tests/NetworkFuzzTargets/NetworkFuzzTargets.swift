import FuzzTargets

extension FuzzTarget {
    /// Calls of the real server.
    public static let nfsCall = FuzzTarget("fuzz-nfs-call", run: fuzzNFSCall)
    /// RPC records, call headers and XDR items.
    public static let xdr = FuzzTarget("fuzz-xdr", run: fuzzXDR)

    /// Everything that comes over the network.
    public static let networkParsers = [nfsCall, xdr]
}
