import Foundation
import NIOCore
import SunRPC

/// Calls the server over a blocking socket and checks that each call is answered, once, by an RPC reply.
///
/// It calls as a user without rights, so that no file of this machine is in danger should a call get out of the export.
struct NFSCaller: ~Copyable {
    private static let names = ["a", "d", "f", "l", "disk.img", ".", "..", "", "a/b", "new"]
    private static let program: UInt32 = 100_003
    private static let lookup: UInt32 = 3
    private static let nobody: UInt32 = 65_534
    /// Inputs after which the directory is made anew.
    private static let inputsPerDirectory = 500

    private let server: NFSServer
    private let socket: Int32
    private var handles: [[UInt8]] = []
    private var inputs = 0
    private var xid: UInt32 = 0

    init(server: NFSServer) {
        self.server = server
        socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(server.port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let socket = socket
        let status = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        precondition(status == 0, "cannot connect")
    }

    /// Makes the directory anew when it is time to.
    mutating func beginInput() {
        if inputs % Self.inputsPerDirectory == 0 { prepareDirectory() }
        inputs += 1
    }

    /// Makes one call; stops the process when the answer is none.
    mutating func make(_ call: borrowing Call) {
        var arguments = XDRWriter(capacity: 512)
        if handles.indices.contains(call.handle) {
            arguments.writeOpaque(ByteBuffer(bytes: handles[call.handle]))
        }
        if Self.names.indices.contains(call.name) {
            arguments.writeOpaque(ByteBuffer(string: Self.names[call.name]))
        }
        arguments.buffer.writeBytes(call.bytes)
        _ = exchange(call.procedure, arguments.buffer)
    }

    private mutating func prepareDirectory() {
        let manager = FileManager.default
        for name in (try? manager.contentsOfDirectory(atPath: server.export)) ?? [] {
            try? manager.removeItem(atPath: "\(server.export)/\(name)")
        }
        chmod(server.export, 0o777)
        mkdir(server.export + "/d", 0o777)
        _ = manager.createFile(atPath: server.export + "/f", contents: Data(repeating: 7, count: 100_000))
        _ = manager.createFile(atPath: server.export + "/disk.img", contents: Data(count: 1 << 20))
        for name in ["d", "f", "disk.img"] { chmod("\(server.export)/\(name)", 0o777) }
        symlink("target", server.export + "/l")
        handles = [server.root]
        for name in ["d", "f", "l", "disk.img"] { handles.append(lookUp(name)) }
    }

    private mutating func lookUp(_ name: String) -> [UInt8] {
        var arguments = XDRWriter(capacity: 512)
        arguments.writeOpaque(ByteBuffer(bytes: server.root))
        arguments.writeOpaque(ByteBuffer(string: name))
        let reply = exchange(Self.lookup, arguments.buffer)
        return reply.withUnsafeReadableBytes { bytes in
            var reader = XDRReader(bytes.bytes)
            do throws(XDRError) {
                // Verifier, its length, accepted, NFS3_OK; then the handle.
                for _ in 0..<4 { _ = try reader.uint32() }
                return try reader.opaque(max: 64).withUnsafeBytes { [UInt8]($0) }
            } catch {
                fatalError("LOOKUP of \(name): \(error)")
            }
        }
    }

    /// Sends a call and returns its reply, from the verifier on.
    private mutating func exchange(_ procedure: UInt32, _ arguments: ByteBuffer) -> ByteBuffer {
        xid += 1
        var record = ByteBuffer()
        for word in [0, xid, 0, 2, Self.program, 3, procedure, 1, 20, 0, 0, Self.nobody, Self.nobody, 0, 0, 0] {
            record.writeInteger(word)
        }
        record.writeImmutableBuffer(arguments)
        record.setInteger(UInt32(record.readableBytes - 4) | 0x8000_0000, at: 0)
        let socket = socket
        record.withUnsafeReadableBytes { bytes in
            precondition(send(socket, bytes.baseAddress, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count)
        }
        var mark = receive(4)
        guard let length = mark.readInteger(as: UInt32.self), length & 0x8000_0000 != 0 else {
            fatalError("procedure \(procedure): a record in fragments")
        }
        var reply = receive(Int(length & 0x7fff_ffff))
        let answered = reply.readInteger(as: UInt32.self)
        let messageType = reply.readInteger(as: UInt32.self)
        precondition(answered == xid && messageType == 1, "procedure \(procedure): an answer to something else")
        precondition(reply.readInteger(as: UInt32.self) == 0, "procedure \(procedure): denied")
        return reply
    }

    private func receive(_ count: Int) -> ByteBuffer {
        ByteBuffer(
            bytes: [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
                while initialized < count {
                    let received = recv(socket, buffer.baseAddress.map { $0 + initialized }, count - initialized, 0)
                    // libFuzzer's alarm.
                    if received < 0, errno == EINTR { continue }
                    precondition(received > 0, "the server hung up")
                    initialized += received
                }
            })
    }
}
