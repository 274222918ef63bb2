import Glibc
import NIOCore
import SunRPC
import TestBed

/// One call of NFS v3 as a record, made once and sent again and again.
final class LoopbackCall: @unchecked Sendable {
    private static let program: UInt32 = 100_003
    fileprivate let record: UnsafeMutableRawBufferPointer
    private let offsetPosition: Int

    /// - Parameters:
    ///   - file: the handle that the arguments begin with.
    ///   - name: the name after it.
    ///   - offset: the offset after it, with `count`.
    ///   - payload: what a WRITE writes; it is UNSTABLE.
    init(
        procedure: UInt32, file: [UInt8], name: String? = nil, offset: UInt64? = nil, count: UInt32 = 0,
        payload: [UInt8]? = nil
    ) {
        var writer = XDRWriter(capacity: 512)
        // AUTH_SYS: stamp 0, no machine name, user and group 0, no other groups; then an empty verifier.
        for word in [0, 1, 0, 2, Self.program, 3, procedure, 1, 20, 0, 0, 0, 0, 0, 0, 0] { writer.write(word) }
        writer.writeOpaque(ByteBuffer(bytes: file))
        offsetPosition = writer.count
        if let name { writer.writeOpaque(ByteBuffer(string: name)) }
        if let offset {
            writer.write(offset)
            writer.write(count)
        }
        if let payload {
            writer.write(0 as UInt32)
            writer.writeOpaque(ByteBuffer(bytes: payload))
        }
        writer.patch(0x8000_0000 | UInt32(writer.count - 4), at: 0)
        record = UnsafeMutableRawBufferPointer.allocate(byteCount: writer.count, alignment: 8)
        record.copyBytes(from: writer.buffer.readableBytesView)
    }

    deinit {
        record.deallocate()
    }

    /// Changes the offset of a READ or WRITE.
    func setOffset(_ offset: Int) {
        record.storeBytes(of: UInt64(offset).bigEndian, toByteOffset: offsetPosition, as: UInt64.self)
    }
}

/// A connection to the server that makes one call after the other, and asks for no memory meanwhile.
final class LoopbackCaller: @unchecked Sendable {
    private let socket: Int32
    private let reply = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 8)

    init(port: Int) throws(TestBedError) {
        socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let socket = socket
        let status = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard status == 0 else { throw TestBedError.lastSystemError("connect to port \(port)") }
        var one: Int32 = 1
        setsockopt(socket, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
    }

    deinit {
        close(socket)
        reply.deallocate()
    }

    /// Makes the call and waits for its reply; throws unless that says success.
    func make(_ call: LoopbackCall) throws(TestBedError) {
        guard send(socket, call.record.baseAddress, call.record.count, Int32(MSG_NOSIGNAL)) == call.record.count else {
            throw TestBedError.lastSystemError("send a call")
        }
        try receive(4)
        let length = Int(word(0) & 0x7fff_ffff)
        guard length >= 28, length <= reply.count else { throw TestBedError("a reply of \(length) bytes") }
        try receive(length)
        // xid, reply, accepted, verifier flavour and length, accept status, NFS status
        guard word(1) == 1, word(2) == 0, word(5) == 0, word(6) == 0 else {
            throw TestBedError("the server answers \(word(2)), \(word(5)), \(word(6))")
        }
    }

    private func word(_ index: Int) -> UInt32 { reply.load(fromByteOffset: index * 4, as: UInt32.self).bigEndian }

    private func receive(_ count: Int) throws(TestBedError) {
        guard recv(socket, reply.baseAddress, count, Int32(MSG_WAITALL)) == count else {
            throw TestBedError.lastSystemError("receive a reply")
        }
    }
}
