import NIOCore
import Testing

@testable import SunRPC

@Suite struct RPCCallHeaderTests {
    private func decode(_ bytes: [UInt8]) throws -> DecodedCall {
        try decodeCall(bytes.span.bytes)
    }

    @Test func aCallWithoutACredential() throws {
        let bytes = call(xid: 7, program: 100_003, version: 3, procedure: 6, arguments: [1, 2, 3, 4])
        let expected = RPCCallHeader(
            xid: 7, program: 100_003, version: 3, procedure: 6, credential: .none, byteCount: 40)
        #expect(try decode(bytes) == .call(expected))
    }

    @Test func aCallOfAUser() throws {
        let credential = authSystem(machine: "esx-1", uid: 0, groups: Array(1...16))
        let bytes = call(xid: 7, procedure: 1, credential: credential)
        let expected = AuthSystem(stamp: 0x1234, machine: "esx-1", uid: 0, gid: 100, groups: Array(1...16))
        guard case .call(let header) = try decode(bytes) else {
            Issue.record("not a call")
            return
        }
        #expect(header.credential == .system(expected))
        #expect(header.byteCount == bytes.count)
    }

    @Test func theLongestMachineNameIsAccepted() throws {
        let bytes = call(
            xid: 1, procedure: 0, credential: authSystem(machine: String(repeating: "m", count: 255), groups: []))
        guard case .call = try decode(bytes) else {
            Issue.record("not a call")
            return
        }
    }

    static let badCredentials: [(name: String, credential: [UInt8], status: RPCAuthenticationStatus)] = [
        ("17 groups", authSystem(groups: Array(1...17)), .badCredential),
        ("a name of 256 bytes", authSystem(machine: String(repeating: "m", count: 256)), .badCredential),
        ("an empty body", words(1, 0), .badCredential),
        ("a body that ends in the groups", words(1, 24, 0, 0, 0, 0, 2, 9), .badCredential),
        ("AUTH_SHORT", words(2, 4, 99), .rejectedCredential),
        ("AUTH_DH", words(3, 0), .badCredential),
        ("RPCSEC_GSS", words(6, 4, 1), .badCredential),
        ("a flavour of nobody's", words(0xFFFF_FFFF, 0), .badCredential),
    ]

    @Test(arguments: badCredentials.indices) func aBadCredentialIsAnAuthError(index: Int) throws {
        let (name, credential, status) = Self.badCredentials[index]
        let decoded = try decode(call(xid: 9, procedure: 1, credential: credential))
        #expect(decoded == .denied(xid: 9, .authError(status)), "\(name)")
    }

    @Test(arguments: [words(1, 0), words(0, 4, 0), words(6, 0)]) func aVerifierIsEmpty(verifier: [UInt8]) throws {
        let decoded = try decode(call(xid: 9, procedure: 1, verifier: verifier))
        #expect(decoded == .denied(xid: 9, .authError(.badVerifier)))
    }

    @Test(arguments: [0, 1, 3, UInt32.max]) func anotherVersionOfRPCIsAMismatch(version: UInt32) throws {
        #expect(try decode(words(5, 0, version)) == .denied(xid: 5, .rpcVersionMismatch))
    }

    @Test(arguments: [1, 2, UInt32.max]) func whatIsNotACallIsAnError(type: UInt32) {
        let bytes = words(5, type, 2, 3, 4, 5, 0, 0, 0, 0)
        let error = failure { () throws(RPCHeaderError) in _ = try decodeCall(bytes.span.bytes) }
        #expect(error == .notACall(messageType: type))
    }

    @Test func aHeaderThatEndsAnywhereIsMalformed() {
        let whole = call(xid: 1, procedure: 2, credential: authSystem())
        for count in 0..<whole.count {
            let bytes = Array(whole.prefix(count))
            let error = failure { () throws(RPCHeaderError) in _ = try decodeCall(bytes.span.bytes) }
            guard case .malformed? = error else {
                Issue.record("\(count) bytes: \(String(describing: error))")
                continue
            }
        }
    }

    @Test func aCredentialOrVerifierAbove400BytesIsABadOne() throws {
        let long = words(1, 404) + [UInt8](repeating: 0, count: 404)
        let credential = call(xid: 1, procedure: 2, credential: long)
        #expect(try decode(credential) == .denied(xid: 1, .authError(.badCredential)))
        let verifier = call(xid: 1, procedure: 2, verifier: long)
        #expect(try decode(verifier) == .denied(xid: 1, .authError(.badVerifier)))
    }

    @Test func theRememberedCredentialIsNotTakenForAnother() throws {
        var memo = CredentialMemo()
        for uid: UInt32 in [1, 1, 2, 1, 1, 3] {
            let bytes = call(xid: 1, procedure: 0, credential: authSystem(uid: uid))
            guard case .call(let header) = try decodeCall(bytes.span.bytes, memo: &memo),
                case .system(let user) = header.credential
            else {
                Issue.record("not a call of a user")
                return
            }
            #expect(user.uid == uid)
        }
        // A bad one in between neither counts nor replaces.
        let bad = call(xid: 1, procedure: 0, credential: authSystem(groups: Array(1...17)))
        #expect(try decodeCall(bad.span.bytes, memo: &memo) == .denied(xid: 1, .authError(.badCredential)))
        #expect(try decodeCall(bad.span.bytes, memo: &memo) == .denied(xid: 1, .authError(.badCredential)))
        let none = call(xid: 1, procedure: 0)
        guard case .call(let header) = try decodeCall(none.span.bytes, memo: &memo) else {
            Issue.record("not a call")
            return
        }
        #expect(header.credential == .none)
    }
}
