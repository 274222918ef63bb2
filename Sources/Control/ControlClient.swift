import Foundation
import Glibc

/// Asks a running server.
public struct ControlClient: Sendable {
    /// Why there is no answer.
    public enum Failure: Error, CustomStringConvertible {
        /// No server listens at the path.
        case noServer(path: String, reason: String)
        /// What came is no answer.
        case noReply(path: String)
        /// What came is an answer of another version, or of another program.
        case notUnderstood(path: String)

        /// For people.
        public var description: String {
            switch self {
            case .noServer(let path, let reason): "no introspectd listens at \(path): \(reason)"
            case .noReply(let path): "the introspectd at \(path) ended without an answer"
            case .notUnderstood(let path):
                "what listens at \(path) gave an answer that is not understood: is it an introspectd of another version?"
            }
        }
    }

    /// Replies are longer than requests; more than this is none.
    private static let longestReply = 64 << 20

    private let path: String

    /// A client of the server whose socket is at `path`.
    public init(path: String) {
        self.path = path
    }

    /// Sends a request and waits for the reply, however long it takes.
    public func send(_ request: ControlRequest) throws -> ControlReply {
        let descriptor = try connect()
        defer { close(descriptor) }
        var rest = try JSONEncoder().encode(request) + Data("\n".utf8)
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, Self.noSignal) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw Failure.noReply(path: path) }
            rest = rest.dropFirst(count)
        }
        let line = try receive(descriptor)
        guard let reply = try? JSONDecoder().decode(ControlReply.self, from: line) else {
            throw Failure.notUnderstood(path: path)
        }
        return reply
    }

    /// MSG_NOSIGNAL, whose type depends on what else is imported.
    private static let noSignal: Int32 = 0x4000

    private func connect() throws(Failure) -> Int32 {
        guard var address = LocalAddress(path) else {
            throw .noServer(path: path, reason: path.isEmpty ? "the path is empty" : "too long for a socket's path")
        }
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0, address.withPointer({ Glibc.connect(descriptor, $0, $1) }) == 0 else {
            let reason = String(cString: strerror(errno))
            close(descriptor)
            throw .noServer(path: path, reason: reason)
        }
        return descriptor
    }

    private func receive(_ descriptor: Int32) throws(Failure) -> Data {
        var line = Data()
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        while line.last != UInt8(ascii: "\n"), line.count < Self.longestReply {
            let count = read(descriptor, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw .noReply(path: path) }
            line += buffer[..<count]
        }
        return line
    }
}
