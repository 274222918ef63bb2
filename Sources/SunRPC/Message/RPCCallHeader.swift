/// The part of a call that is the same for all programs (RFC 5531 section 9, `call_body`).
public struct RPCCallHeader: Hashable, Sendable {
    /// The caller's number for this call, echoed in the reply.
    public let xid: UInt32
    /// The program called.
    public let program: UInt32
    /// The version of the program.
    public let version: UInt32
    /// The procedure of that version.
    public let procedure: UInt32
    /// Who calls.
    public let credential: RPCCredential
    /// The length of the header in bytes: the arguments start there.
    public let byteCount: Int

    /// The version of the RPC protocol that is spoken here.
    public static let rpcVersion: UInt32 = 2
    /// Longest body of a credential or verifier, in bytes (RFC 5531 section 8.2).
    public static let maximumAuthenticationLength = 400
}

/// What the bytes of one record turned out to be.
public enum DecodedCall: Hashable, Sendable {
    /// A call to be handed to its program.
    case call(RPCCallHeader)
    /// A call to be answered with this failure, and not to be carried out.
    case denied(xid: UInt32, RPCFailure)
}

/// A record that is no RPC call at all, so that the stream cannot be trusted any more.
public enum RPCHeaderError: Error, Hashable, Sendable {
    /// The record ends within the header, or its credential's or verifier's length points outside.
    case malformed(XDRError)
    /// The message type is not CALL.
    case notACall(messageType: UInt32)
}

extension RPCHeaderError: CustomStringConvertible {
    /// One line that says what was found and what was expected.
    public var description: String {
        switch self {
        case .malformed(let error): "malformed RPC call header: \(error)"
        case .notACall(let type): "RPC message type \(type), expected 0 (CALL)"
        }
    }
}

/// Decodes the header of the call in one record (RFC 5531 section 9). Pure: no I/O, any bytes.
public func decodeCall(_ bytes: RawSpan) throws(RPCHeaderError) -> DecodedCall {
    var memo = CredentialMemo()
    return try decodeCall(bytes, memo: &memo)
}

/// As ``decodeCall(_:)``, remembering the last credential, because a client repeats the same one in call after call.
func decodeCall(_ bytes: RawSpan, memo: inout CredentialMemo) throws(RPCHeaderError) -> DecodedCall {
    var reader = XDRReader(bytes)
    let xid: UInt32
    let messageType: UInt32
    do throws(XDRError) {
        xid = try reader.uint32()
        messageType = try reader.uint32()
    } catch {
        throw .malformed(error)
    }
    guard messageType == RPCMessageType.call else { throw .notACall(messageType: messageType) }
    do throws(XDRError) {
        return try decodeCallBody(xid: xid, from: &reader, memo: &memo)
    } catch {
        throw .malformed(error)
    }
}

private func decodeCallBody(
    xid: UInt32, from reader: inout XDRReader, memo: inout CredentialMemo
) throws(XDRError) -> DecodedCall {
    // What follows the version depends on it, so a call of another one is answered without reading on.
    guard try reader.uint32() == RPCCallHeader.rpcVersion else { return .denied(xid: xid, .rpcVersionMismatch) }
    let program = try reader.uint32()
    let version = try reader.uint32()
    let procedure = try reader.uint32()

    let flavor = try reader.uint32()
    let body = try reader.opaque(max: reader.remaining)
    let verifierFlavor = try reader.uint32()
    let verifier = try reader.opaque(max: reader.remaining)
    // What is too long is no credential; where the next call begins is known all the same.
    guard body.byteCount <= RPCCallHeader.maximumAuthenticationLength else {
        return .denied(xid: xid, .authError(.badCredential))
    }

    let credential: RPCCredential
    do throws(RPCAuthenticationError) {
        credential = try memo.credential(flavor: flavor, body: body)
    } catch {
        return .denied(xid: xid, .authError(error.status))
    }
    guard verifierFlavor == AuthenticationFlavor.none, verifier.byteCount == 0 else {
        return .denied(xid: xid, .authError(.badVerifier))
    }
    return .call(
        RPCCallHeader(
            xid: xid, program: program, version: version, procedure: procedure,
            credential: credential, byteCount: reader.offset))
}
