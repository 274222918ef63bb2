import Glibc
import Synchronization
import TestBed

/// An image file as a guest's disk: what a hypervisor has of it.
protocol ImageFile: AnyObject, Sendable {
    /// Bytes.
    var size: Int { get }
    /// Fills `buffer` from `offset`.
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(NFSClientError)
    /// Writes, not yet durably.
    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(NFSClientError)
    /// Makes durable what was written.
    func flush() throws(NFSClientError)
}

/// A file of this machine.
final class LocalImage: ImageFile {
    let size: Int
    private let path: String
    private let descriptor: Int32

    init(path: String) throws(NFSClientError) {
        self.path = path
        descriptor = open(path, O_RDWR | O_CLOEXEC)
        guard descriptor >= 0 else { throw .system("open \(path)") }
        size = lseek(descriptor, 0, SEEK_END)
    }

    deinit {
        close(descriptor)
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(NFSClientError) {
        guard pread(descriptor, buffer.baseAddress, buffer.count, offset) == buffer.count else {
            throw .system("read \(path)")
        }
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(NFSClientError) {
        guard pwrite(descriptor, bytes.baseAddress, bytes.count, offset) == bytes.count else {
            throw .system("write \(path)")
        }
    }

    func flush() throws(NFSClientError) {
        guard fdatasync(descriptor) == 0 else { throw .system("flush \(path)") }
    }
}

/// A file of an NFS server: WRITE is unstable, and a flush is a COMMIT of the whole file, as QEMU has it with
/// `cache=none`.
final class NFSImage: ImageFile {
    let size: Int
    private let name: String
    private let handle: [UInt8]
    private let idle: Mutex<[Idle]>
    /// What the server said with the first WRITE; another one means that it may have lost what was written.
    private let verifier = Mutex<[UInt8]?>(nil)

    /// A connection that nobody uses.
    private struct Idle: @unchecked Sendable {
        let connection: NFSConnection
    }

    /// - Parameter connectionCount: As many calls can be under way as there are connections.
    init(
        _ name: String, in export: String, host: String, port: UInt16, mountPort: UInt16, connectionCount: Int
    ) throws(NFSClientError) {
        self.name = name
        let mount = try NFSConnection(host: host, port: mountPort)
        guard let root = NFSCalls.opaque(try mount.call(NFSCalls.mount(export), "MNT \(export)")) else {
            throw NFSClientError("MNT \(export): no handle")
        }
        var connections: [Idle] = []
        for _ in 0..<connectionCount {
            connections.append(Idle(connection: try NFSConnection(host: host, port: port)))
        }
        let first = connections[0].connection
        guard let handle = NFSCalls.opaque(try first.call(NFSCalls.lookup(name, in: root), "LOOKUP \(name)")) else {
            throw NFSClientError("LOOKUP \(name): no handle")
        }
        self.handle = handle
        let attributes = try first.call(NFSCalls.attributes(of: handle), "GETATTR \(name)")
        // type, mode, links, user and group stand before the size
        guard attributes.count >= 28 else { throw NFSClientError("GETATTR \(name): \(attributes.count) bytes") }
        size = Int(attributes[20..<28].reduce(UInt64(0)) { $0 << 8 | UInt64($1) })
        idle = Mutex(connections)
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(NFSClientError) {
        var done = 0
        while done < buffer.count {
            let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[done...])
            let call = NFSCalls.read(handle, offset: offset + done, count: rest.count)
            let count = try withConnection { connection throws(NFSClientError) in
                try connection.send(call)
                return try connection.receive { NFSCalls.copyData(ofRead: $0, to: rest) }
            }
            guard let count, count > 0 else { throw NFSClientError("READ \(name) at \(offset + done): refused") }
            done += count
        }
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(NFSClientError) {
        let call = NFSCalls.write(handle, offset: offset, count: bytes.count, isStable: false)
        let padding = [UInt8](repeating: 0, count: (4 - bytes.count % 4) % 4)
        let results = try withConnection { connection throws(NFSClientError) in
            try connection.send(call)
            try connection.send(bytes)
            try connection.send(padding)
            return try connection.receive(NFSCalls.results)
        }
        try check(results, "WRITE \(name) at \(offset)")
    }

    func flush() throws(NFSClientError) {
        let results = try withConnection { connection throws(NFSClientError) in
            try connection.call(NFSCalls.commit(handle), "COMMIT \(name)")
        }
        try check(results, "COMMIT \(name)")
    }

    /// The verifier ends the results of WRITE and COMMIT alike.
    private func check(_ results: [UInt8]?, _ call: String) throws(NFSClientError) {
        guard let results, results.count >= 8 else { throw NFSClientError("\(call): refused") }
        let told = Array(results.suffix(8))
        let first = verifier.withLock { verifier in
            verifier = verifier ?? told
            return verifier
        }
        guard told == first else { throw NFSClientError("\(call): the server may have lost earlier writes") }
    }

    private func withConnection<Result>(
        _ body: (NFSConnection) throws(NFSClientError) -> Result
    ) throws(NFSClientError) -> Result {
        guard let taken = idle.withLock({ $0.popLast() }) else { throw NFSClientError("no connection is idle") }
        // One that failed is in no state to be used again.
        let result = try body(taken.connection)
        idle.withLock { $0.append(taken) }
        return result
    }
}
