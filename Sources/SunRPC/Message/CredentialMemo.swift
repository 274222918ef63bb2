/// The last AUTH_SYS credential of a connection, encoded and decoded.
///
/// A client sends the same few dozen bytes in every call. Comparing them is much cheaper than decoding a name and a list.
struct CredentialMemo {
    private var encoded: [UInt8] = []
    private var decoded = RPCCredential.none

    /// The credential of this flavour and body (RFC 5531 section 8.2).
    mutating func credential(flavor: UInt32, body: RawSpan) throws(RPCAuthenticationError) -> RPCCredential {
        switch flavor {
        case AuthenticationFlavor.none:
            return .none
        case AuthenticationFlavor.system:
            return try system(body)
        case AuthenticationFlavor.short:
            // A short-hand for a credential of a former session: appendix A has the client send the full one again.
            throw RPCAuthenticationError(status: .rejectedCredential)
        default:
            throw RPCAuthenticationError(status: .badCredential)
        }
    }

    private mutating func system(_ body: RawSpan) throws(RPCAuthenticationError) -> RPCCredential {
        if body.byteCount == encoded.count, !encoded.isEmpty, body.isEqual(to: encoded.span.bytes) {
            return decoded
        }
        var reader = XDRReader(body)
        do throws(XDRError) {
            decoded = .system(try AuthSystem(from: &reader))
        } catch {
            throw RPCAuthenticationError(status: .badCredential)
        }
        encoded = body.withUnsafeBytes { Array($0) }
        return decoded
    }
}

extension RawSpan {
    /// Whether both hold the same bytes.
    fileprivate func isEqual(to other: RawSpan) -> Bool {
        withUnsafeBytes { mine in
            other.withUnsafeBytes { theirs in mine.elementsEqual(theirs) }
        }
    }
}
