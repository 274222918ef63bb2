/// Why a call was not carried out, as the RPC protocol itself says it (RFC 5531 section 9).
public enum RPCFailure: Error, Hashable, Sendable {
    /// RPC_MISMATCH: the call is not of version 2 of the RPC protocol.
    case rpcVersionMismatch
    /// AUTH_ERROR, with its reason.
    case authError(RPCAuthenticationStatus)
    /// PROG_UNAVAIL: no such program here.
    case programUnavailable
    /// PROG_MISMATCH: the program is here, in other versions.
    case programMismatch(supported: ClosedRange<UInt32>)
    /// PROC_UNAVAIL: the program has no such procedure.
    case procedureUnavailable
    /// GARBAGE_ARGS: the arguments cannot be decoded.
    case garbageArguments
    /// SYSTEM_ERR: the server itself failed, for want of memory for example.
    case systemError
}

/// Why a credential was turned down: `auth_stat` (RFC 5531 section 9).
public enum RPCAuthenticationStatus: UInt32, Hashable, Sendable {
    /// AUTH_BADCRED: the credential cannot be understood.
    case badCredential = 1
    /// AUTH_REJECTEDCRED: the client must begin a new session.
    case rejectedCredential = 2
    /// AUTH_BADVERF: the verifier cannot be understood.
    case badVerifier = 3
    /// AUTH_REJECTEDVERF: the verifier expired or was replayed.
    case rejectedVerifier = 4
    /// AUTH_TOOWEAK: rejected for security reasons.
    case tooWeak = 5
}

/// A credential that was turned down.
struct RPCAuthenticationError: Error {
    let status: RPCAuthenticationStatus
}
