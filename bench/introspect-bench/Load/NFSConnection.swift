import Glibc

/// A failure of the load generator's client: what was asked and what came back.
struct NFSClientError: Error, Equatable, CustomStringConvertible {
    /// The connection's patience has an end, and no reply came before.
    static let noAnswer = NFSClientError("the server does not answer")

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
/// Made to be cheaper than the server it loads: calls are written from where they stand, replies are read into one
/// small buffer and looked at in place, and the bytes of a READ are counted and dropped as they come.
final class NFSConnection {
    /// A reply as ``receive()`` sees it.
    struct Reply {
        /// The call that it answers.
        let transaction: UInt32
        /// Whether the call was accepted and carried out.
        let isSuccess: Bool
        /// Bytes of the whole reply.
        let length: Int
    }

    private let socket: Int32
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 4096)
    private var start = 0
    private var end = 0

    /// Connects to `host` (an IPv4 address) at `port`.
    ///
    /// - Parameters:
    ///   - own: the client's address, of which a port is taken that only root can have; nil for any port.
    ///   - patience: seconds after which a reply that has not come is a failure; nil for never.
    init(
        host: String, port: UInt16, from own: String? = "0.0.0.0", patience: Int? = nil
    ) throws(NFSClientError) {
        socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard socket >= 0 else { throw .system("socket") }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        guard inet_pton(AF_INET, host, &address.sin_addr) == 1 else {
            close(socket)
            throw NFSClientError("\(host) is not an IPv4 address")
        }
        if let own {
            var from = sockaddr_in()
            from.sin_family = sa_family_t(AF_INET)
            // Without root it is another port.
            if inet_pton(AF_INET, own, &from.sin_addr) == 1 { bindresvport(socket, &from) }
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
        guard let patience else { return }
        var limit = timeval(tv_sec: patience, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(socket, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
    }

    deinit {
        close(socket)
        buffer.deallocate()
    }

    /// Sends whole records, in at most 1024 pieces; `pieces` is used up.
    func send(_ pieces: UnsafeMutableBufferPointer<iovec>) throws(NFSClientError) {
        var rest = pieces[...]
        while !rest.isEmpty {
            let unsent = UnsafeMutableBufferPointer(rebasing: rest)
            var count = writev(socket, unsent.baseAddress, Int32(unsent.count))
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw .system("send") }
            while let next = rest.first, count >= next.iov_len {
                count -= next.iov_len
                rest.removeFirst()
            }
            guard let next = rest.first else { return }
            rest[rest.startIndex] = iovec(iov_base: next.iov_base.map { $0 + count }, iov_len: next.iov_len - count)
        }
    }

    /// Sends a whole record, or its next part.
    func send(_ bytes: [UInt8]) throws(NFSClientError) {
        // Typed throws do not pass through withUnsafeBytes.
        let result = bytes.withUnsafeBytes { bytes in Result { () throws(NFSClientError) in try send(bytes) } }
        try result.get()
    }

    /// Sends a whole record, or its next part.
    func send(_ bytes: UnsafeRawBufferPointer) throws(NFSClientError) {
        var done = 0
        while done < bytes.count {
            let count = write(socket, bytes.baseAddress.map { $0 + done }, bytes.count - done)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw .system("send") }
            done += count
        }
    }

    /// Sends a record and waits for the reply; the results after the status.
    ///
    /// - Parameter name: What to call the call when the server refuses it.
    func call(_ record: [UInt8], _ name: String) throws(NFSClientError) -> [UInt8] {
        try send(record)
        guard let results = try receive(NFSCalls.results) else { throw NFSClientError("\(name): the server refused") }
        return results
    }

    /// Waits for the next reply, and calls `body` with the bytes after its record mark; they fit in the buffer.
    func receive<Result>(_ body: (UnsafeRawBufferPointer) -> Result) throws(NFSClientError) -> Result {
        let length = try beginReply()
        guard length <= buffer.count - 4 else { throw NFSClientError("a reply of \(length) bytes") }
        try fill(needing: 4 + length)
        defer { start += 4 + length }
        return body(UnsafeRawBufferPointer(rebasing: buffer[start + 4..<start + 4 + length]))
    }

    /// Waits for the whole of the next reply, of which only the header is looked at.
    func receive() throws(NFSClientError) -> Reply {
        let length = try beginReply()
        let header = min(length, NFSCalls.replyHeaderLength)
        try fill(needing: 4 + header)
        let bytes = UnsafeRawBufferPointer(rebasing: buffer[start + 4..<start + 4 + header])
        let reply = Reply(
            transaction: header >= 4 ? number(at: start + 4) : 0, isSuccess: NFSCalls.isSuccess(bytes), length: length)
        var rest = 4 + length
        while true {
            let count = min(rest, end - start)
            start += count
            rest -= count
            if rest == 0 { return reply }
            try fill(needing: 1)
        }
    }

    /// Whether the buffer holds a whole reply, so that receiving it will not wait.
    var hasReply: Bool {
        end - start >= 4 && end - start - 4 >= Int(number(at: start) & 0x7FFF_FFFF)
    }

    /// The length of the next reply, which stands at `start`.
    private func beginReply() throws(NFSClientError) -> Int {
        try fill(needing: 4)
        let mark = number(at: start)
        guard mark & 0x8000_0000 != 0 else { throw NFSClientError("a reply in several fragments") }
        return Int(mark & 0x7FFF_FFFF)
    }

    private func number(at offset: Int) -> UInt32 {
        UInt32(bigEndian: buffer.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }

    private func fill(needing count: Int) throws(NFSClientError) {
        if start == end { (start, end) = (0, 0) }
        guard let base = buffer.baseAddress else { return }
        if start + count > buffer.count {
            memmove(base, base + start, end - start)
            (start, end) = (0, end - start)
        }
        while end - start < count {
            let received = read(socket, base + end, buffer.count - end)
            if received < 0, errno == EINTR { continue }
            if received < 0, errno == EAGAIN { throw .noAnswer }
            guard received > 0 else { throw NFSClientError("the server closed the connection") }
            end += received
        }
    }
}
