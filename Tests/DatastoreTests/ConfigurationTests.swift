import Glibc
import NIOCore
import TestTools
import Testing

@testable import Datastore

@Suite struct ConfigurationTests {
    private func open(_ exports: [String], state: String) -> DatastoreError? {
        do throws(DatastoreError) {
            let exports = exports.map { DatastoreConfiguration.Export(path: $0) }
            try Datastore(exports: exports, state: state).close()
            return nil
        } catch {
            return error
        }
    }

    @Test func whatCannotBeServedIsNamed() throws {
        try withTemporaryDirectory { path in
            for name in ["a", "a/b", "ab"] { mkdir("\(path)/\(name)", 0o755) }
            try "".write(toFile: "\(path)/file", atomically: false, encoding: .utf8)
            let state = "\(path)/state"
            #expect(open(["\(path)/a", "\(path)/ab"], state: state) == nil)
            let missing = open(["\(path)/missing"], state: state)
            #expect(missing?.code == .noEntry && missing?.message.contains("\(path)/missing") == true)
            #expect(open(["\(path)/file"], state: state)?.code == .notDirectory)
            #expect(open(["\(path)/a", "\(path)/a/b"], state: state)?.code == .invalidArgument)
            #expect(open(["\(path)/a", "\(path)/a/../a"], state: state)?.code == .invalidArgument)
            #expect(open(["\(path)/a"], state: "\(path)/a/state")?.code == .invalidArgument)
        }
    }

    @Test func theKeyIsKeptFromOthers() throws {
        try withTemporaryDirectory { path in
            mkdir("\(path)/a", 0o755)
            #expect(open(["\(path)/a"], state: "\(path)/deep/state") == nil)
            var status = stat()
            #expect(stat("\(path)/deep/state/handle-key", &status) == 0)
            #expect(status.st_mode & 0o777 == 0o600 && status.st_size == 32)
            #expect(stat("\(path)/deep/state", &status) == 0)
            #expect(status.st_mode & 0o777 == 0o700)
            chmod("\(path)/deep/state/handle-key", 0o644)
            #expect(open(["\(path)/a"], state: "\(path)/deep/state")?.message.contains("0600") == true)
            chmod("\(path)/deep/state/handle-key", 0o600)
            truncate("\(path)/deep/state/handle-key", 5)
            #expect(open(["\(path)/a"], state: "\(path)/deep/state")?.message.contains("5 bytes") == true)
            truncate("\(path)/deep/state/handle-key", 0)
            truncate("\(path)/deep/state/handle-key", 32)
            #expect(open(["\(path)/a"], state: "\(path)/deep/state")?.message.contains("zeros") == true)
        }
    }

    /// Who has the key can make handles of any file.
    @Test func aStateDirectoryThatOthersCouldChangeIsRefused() throws {
        try withTemporaryDirectory { path in
            mkdir("\(path)/a", 0o755)
            mkdir("\(path)/above", 0o755)
            let state = "\(path)/above/state"
            mkdir(state, 0o700)
            #expect(open(["\(path)/a"], state: state) == nil)
            for mode: mode_t in [0o755, 0o770, 0o701, 0o1777] {
                chmod(state, mode)
                #expect(open(["\(path)/a"], state: state)?.message.contains("chmod 700") == true)
            }
            chmod(state, 0o700)
            for mode: mode_t in [0o777, 0o775, 0o757] {
                chmod("\(path)/above", mode)
                #expect(open(["\(path)/a"], state: state)?.message.contains("chmod go-w \(path)/above") == true)
            }
            chmod("\(path)/above", 0o1777)
            #expect(open(["\(path)/a"], state: state) == nil)
            guard isRoot else { return }
            for name in ["above/state", "above/state/handle-key", "above/state/redirected-images", "above"] {
                chown("\(path)/\(name)", 1234, 1234)
                #expect(open(["\(path)/a"], state: state) != nil, "\(name)")
                chown("\(path)/\(name)", 0, 0)
            }
            #expect(open(["\(path)/a"], state: state) == nil)
        }
    }

    @Test func addressRanges() throws {
        let cases: [(String, inside: [String], outside: [String])] = [
            ("10.0.0.0/8", ["10.0.0.1", "10.255.255.255", "::ffff:10.1.2.3"], ["11.0.0.0", "9.255.255.255", "::1"]),
            ("192.0.2.7", ["192.0.2.7"], ["192.0.2.6"]),
            ("0.0.0.0/0", ["1.2.3.4", "255.255.255.255"], ["::1", "fd00::1"]),
            ("fd00::/8", ["fd00::1", "fdff::"], ["fe00::", "10.0.0.1"]),
            ("::/0", ["::1", "1.2.3.4"], []),
            ("::1", ["::1"], ["::2", "0.0.0.1"]),
        ]
        for (text, inside, outside) in cases {
            let range = try #require(AddressRange(text))
            #expect(range.description == text)
            for address in inside { #expect(range.contains(try #require(ClientAddress(address))), "\(address)") }
            for address in outside { #expect(!range.contains(try #require(ClientAddress(address))), "\(address)") }
        }
        for text in [
            "", "10.0.0.0/33", "10.0.0.1/8", "fd00::/129", "::1/-1", "host", "10.0.0.0/", "10.0.0.0/8/8", "1.2.3",
        ] {
            #expect(AddressRange(text) == nil, "\(text)")
        }
        #expect(AddressRange.loopback.count == 2)
        let socket = try SocketAddress(ipAddress: "127.0.0.1", port: 1)
        #expect(AddressRange.loopback.contains { $0.contains(ClientAddress(socket)) })
        let socket6 = try SocketAddress(ipAddress: "::1", port: 1)
        #expect(AddressRange.loopback.contains { $0.contains(ClientAddress(socket6)) })
    }
}
