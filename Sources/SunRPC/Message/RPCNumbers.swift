// Numbers of the wire format (RFC 5531 sections 8.2 and 9).

/// `msg_type`.
enum RPCMessageType {
    static let call: UInt32 = 0
    static let reply: UInt32 = 1
}

/// `reply_stat`.
enum RPCReplyStatus {
    static let accepted: UInt32 = 0
    static let denied: UInt32 = 1
}

/// `accept_stat`.
enum RPCAcceptStatus {
    static let success: UInt32 = 0
    static let programUnavailable: UInt32 = 1
    static let programMismatch: UInt32 = 2
    static let procedureUnavailable: UInt32 = 3
    static let garbageArguments: UInt32 = 4
    static let systemError: UInt32 = 5
}

/// `reject_stat`.
enum RPCRejectStatus {
    static let versionMismatch: UInt32 = 0
    static let authError: UInt32 = 1
}

/// `auth_flavor`.
enum AuthenticationFlavor {
    static let none: UInt32 = 0
    static let system: UInt32 = 1
    static let short: UInt32 = 2
}
