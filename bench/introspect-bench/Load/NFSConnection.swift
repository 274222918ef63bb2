import Glibc

/// A failure of the load generator's client: what was asked and what came back.
struct NFSClientError: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }

    static func system(_ operation: String) -> NFSClientError {
        NFSClientError("\(operation): \(String(cString: strerror(errno)))")
    }
}

/// One TCP connection to an RPC server, with calls and replies as whole records.
///
/// Made to be cheaper than the server it loads: calls are written as prepared bytes, replies are read into one buffer
/// and looked at in place.
final class NFSConnection {
    private let socket: Int32
    private var buffer = [UInt8](repeating: 0, count: 4 << 20)
    private var start = 0
    private var end = 0

    /// Connects to `host` (an IPv4 address) at `port`.
    init(host: String, port: UInt16) throws(NFSClientError) {
        socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard socket >= 0 else { throw .system("socket") }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        guard inet_pton(AF_INET, host, &address.sin_addr) == 1 else {
            close(socket)
            throw NFSClientError("\(host) is not an IPv4 address")
        }
        let status = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard status == 0 else {
            let error = NFSClientError.system("connect to \(host) port \(port)")
            close(socket)
            throw error
        }
        var one: Int32 = 1
        setsockopt(socket, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
    }

    deinit {
        close(socket)
    }

    /// Sends whole records.
    func send(_ records: [UInt8]) throws(NFSClientError) {
        var done = 0
        while done < records.count {
            let count = records.withUnsafeBytes { write(socket, $0.baseAddress.map { $0 + done }, $0.count - done) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw .system("send") }
            done += count
        }
    }

    /// Waits for the next reply, and calls `body` with the bytes after its record mark.
    func receive<Result>(_ body: (UnsafeRawBufferPointer) -> Result) throws(NFSClientError) -> Result {
        try fill(needing: 4)
        let mark = number(at: start)
        guard mark & 0x8000_0000 != 0 else { throw NFSClientError("a reply in several fragments") }
        let length = Int(mark & 0x7FFF_FFFF)
        guard length <= buffer.count - 4 else { throw NFSClientError("a reply of \(length) bytes") }
        try fill(needing: 4 + length)
        defer { start += 4 + length }
        return buffer.withUnsafeBytes { body(UnsafeRawBufferPointer(rebasing: $0[start + 4..<start + 4 + length])) }
    }

    /// Whether the buffer holds a whole reply, so that ``receive(_:)`` will not wait.
    var hasReply: Bool {
        end - start >= 4 && end - start - 4 >= Int(number(at: start) & 0x7FFF_FFFF)
    }

    private func number(at offset: Int) -> UInt32 {
        buffer[offset..<offset + 4].reduce(0) { $0 << 8 | UInt32($1) }
    }

    private func fill(needing count: Int) throws(NFSClientError) {
        if start == end { (start, end) = (0, 0) }
        if start + count > buffer.count {
            buffer.withUnsafeMutableBytes { bytes in
                guard let base = bytes.baseAddress else { return }
                memmove(base, base + start, end - start)
            }
            (start, end) = (0, end - start)
        }
        while end - start < count {
            let received = buffer.withUnsafeMutableBytes {
                read(socket, $0.baseAddress.map { $0 + end }, $0.count - end)
            }
            if received < 0, errno == EINTR { continue }
            guard received > 0 else { throw NFSClientError("the server closed the connection") }
            end += received
        }
    }
}
