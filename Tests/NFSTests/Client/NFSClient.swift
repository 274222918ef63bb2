import RPCGenClient

/// A call that did not reach the procedure: what libtirpc says of it.
struct CallFailure: Error, Equatable {
    var status: UInt32
    var low: UInt32 = 0
    var high: UInt32 = 0
}

extension CallFailure {
    static let garbageArguments = CallFailure(status: RPC_CANTDECODEARGS.rawValue)
    static let procedureUnavailable = CallFailure(status: RPC_PROCUNAVAIL.rawValue)

    static func versionMismatch(low: UInt32, high: UInt32) -> CallFailure {
        CallFailure(status: RPC_PROGVERSMISMATCH.rawValue, low: low, high: high)
    }
}

/// One connection of the client that rpcgen made. Calls block; each copies what its result points at.
final class RPCConnection {
    let raw: OpaquePointer

    init?(port: Int, program: UInt32, version: UInt32) {
        guard let raw = rpcgen_connect(UInt16(port), program, version) else { return nil }
        self.raw = raw
    }

    deinit {
        rpcgen_disconnect(raw)
    }

    func authenticate(uid: UInt32, gid: UInt32, groups: [UInt32] = []) {
        precondition(rpcgen_set_auth_sys(raw, uid, gid, UInt32(groups.count), groups) != 0)
    }

    func authenticateAsNobody() {
        rpcgen_set_auth_none(raw)
    }

    func check(_ outcome: rpcgen_outcome) throws(CallFailure) {
        guard outcome.status == RPC_SUCCESS.rawValue else {
            throw CallFailure(status: outcome.status, low: outcome.low, high: outcome.high)
        }
    }

    func null() throws(CallFailure) {
        try check(rpcgen_null(raw))
    }

    /// Calls with `words` for arguments, each of them in network order.
    func call(_ procedure: UInt32, words: [UInt32]) throws(CallFailure) {
        try call(procedure, bytes: words.flatMap { word in withUnsafeBytes(of: word.bigEndian) { Array($0) } })
    }

    func call(_ procedure: UInt32, bytes: [UInt8]) throws(CallFailure) {
        try check(rpcgen_call_raw(raw, procedure, bytes, UInt32(bytes.count)))
    }

    /// Calls, and lets the outcome be what it may.
    func attempt(_ procedure: UInt32, bytes: [UInt8]) {
        _ = rpcgen_call_raw(raw, procedure, bytes, UInt32(bytes.count))
    }
}

/// The 21 procedures of NFSv3 that have results, with Swift values for C's.
final class NFSClient {
    let connection: RPCConnection

    init?(port: Int, version: UInt32 = UInt32(NFS_V3)) {
        guard let connection = RPCConnection(port: port, program: UInt32(NFS_PROGRAM), version: version) else {
            return nil
        }
        self.connection = connection
    }

    typealias Procedure<Arguments, Result> = (
        OpaquePointer?, UnsafeMutablePointer<Arguments>?, UnsafeMutablePointer<Result>?
    ) -> rpcgen_outcome

    /// Calls `procedure` and hands its result to `read` before it is freed.
    func call<Arguments, Result, Value>(
        _ procedure: Procedure<Arguments, Result>, _ free: (UnsafeMutablePointer<Result>?) -> Void,
        _ arguments: Arguments, _ read: (Result) -> Value
    ) throws(CallFailure) -> Value {
        var arguments = arguments
        let result = UnsafeMutablePointer<Result>.allocate(capacity: 1)
        let outcome = procedure(connection.raw, &arguments, result)
        defer {
            free(result)
            result.deallocate()
        }
        try connection.check(outcome)
        return read(result.pointee)
    }
}
