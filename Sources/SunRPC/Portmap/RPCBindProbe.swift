import Glibc
import NIOCore

/// Asks rpcbind, or a server that is registered there, for nothing (procedure 0), to see in bounded time whether it is
/// there.
///
/// libtirpc would try each transport for up to a minute.
enum RPCBindProbe {
    /// How long rpcbind may take to connect, and to answer.
    private static let patience = timeval(tv_sec: 2, tv_usec: 0)
    private static let socketPath = "/run/rpcbind.sock"
    private static let port: UInt16 = 111
    private static let program: UInt32 = 100_000
    private static let version: UInt32 = 4

    /// Whether rpcbind answers on its local socket, or else on this host's TCP port 111.
    static func isAnswering() -> Bool {
        answers(program, version, family: AF_UNIX, connect: connectToSocket)
            || isAnswering(program: program, version: version, port: port)
    }

    /// Whether an RPC server answers on this host's TCP port `port`.
    static func isAnswering(program: UInt32, version: UInt32, port: UInt16) -> Bool {
        answers(program, version, family: AF_INET) { descriptor in connect(descriptor, toPort: port) }
    }

    private static func answers(
        _ program: UInt32, _ version: UInt32, family: Int32, connect: (Int32) -> Bool
    ) -> Bool {
        let descriptor = socket(family, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        var patience = patience
        let length = socklen_t(MemoryLayout<timeval>.size)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, length)
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &patience, length)
        // Servers may take calls from such ports alone; without root there is none to be had.
        if family == AF_INET { bindresvport(descriptor, nil) }
        guard connect(descriptor) else { return false }

        let xid = UInt32.random(in: .min ... .max)
        let call = nullCall(program, version, xid: xid)
        let sent = call.withUnsafeReadableBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
        guard sent == call.readableBytes else { return false }
        // Any reply to this call will do: also one that says that version 4 is not spoken.
        var reply = [UInt8](repeating: 0, count: 12)
        guard recv(descriptor, &reply, reply.count, Int32(MSG_WAITALL)) == reply.count else { return false }
        var reader = XDRReader(reply.span.bytes)
        guard (try? reader.uint32()) != nil, let answered = try? reader.uint32() else { return false }
        return answered == xid
    }

    private static func nullCall(_ program: UInt32, _ version: UInt32, xid: UInt32) -> ByteBuffer {
        var writer = XDRWriter(capacity: 44)
        writer.write(0 as UInt32)
        for word in [xid, RPCMessageType.call, RPCCallHeader.rpcVersion, program, version, 0] {
            writer.write(word)
        }
        for _ in ["credential", "verifier"] {
            writer.write(AuthenticationFlavor.none)
            writer.write(0 as UInt32)
        }
        return RPCReply.seal(writer)
    }

    private static func connectToSocket(_ descriptor: Int32) -> Bool {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { path in
            path.copyBytes(from: socketPath.utf8.prefix(path.count - 1))
        }
        return connect(descriptor, &address)
    }

    private static func connect(_ descriptor: Int32, toPort port: UInt16) -> Bool {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(INADDR_LOOPBACK).bigEndian
        return connect(descriptor, &address)
    }

    private static func connect<Address>(_ descriptor: Int32, _ address: inout Address) -> Bool {
        withUnsafeMutableBytes(of: &address) { bytes in
            guard let pointer = bytes.baseAddress?.assumingMemoryBound(to: sockaddr.self) else { return false }
            return Glibc.connect(descriptor, pointer, socklen_t(bytes.count)) == 0
        }
    }
}
