import Foundation
import Synchronization
import TestBed

@testable import introspect_bench

/// A client that writes to the inode table of an image, over and over, until the server ends.
final class InodeTableWriter: Sendable {
    private let written = Atomic(0)
    private let hasEnded = DispatchSemaphore(value: 0)

    /// How many WRITEs were acknowledged.
    var count: Int { written.load(ordering: .relaxed) }

    /// Begins to write to the file `name` of what `server` serves: an ext file system with blocks of 4 KiB.
    init(of name: String, on server: LocalServer) {
        Thread.detachNewThread { [self] in
            try? write(name, server)
            hasEnded.signal()
        }
    }

    /// Waits for the end of the server's connection.
    func waitForEnd() throws {
        guard hasEnded.wait(timeout: .now() + 30) == .success else { throw TestBedError("the client goes on") }
    }

    private func write(_ name: String, _ server: LocalServer) throws {
        let groups = try run("dumpe2fs", "\(server.directory)/\(name)")
        let place = groups.components(separatedBy: "Inode table at ").dropFirst().first?.prefix { $0.isNumber }
        guard let block = place.flatMap({ Int($0) }) else { throw TestBedError("\(name): no inode table") }
        let (nfs, file) = try server.open(name)
        let record =
            NFSCalls.write(file, offset: (block + 2) * 4096, count: 4096, isStable: true)
            + [UInt8](repeating: 7, count: 4096)
        while true {
            _ = try nfs.call(record, "WRITE")
            written.add(1, ordering: .relaxed)
        }
    }
}

/// A client that reads the first block of an image, over and over.
final class ImageReader: Sendable {
    private let done = Atomic(0)
    private let isEnded = Atomic(false)

    /// How many READs were answered.
    var count: Int { done.load(ordering: .relaxed) }

    /// Begins to read the file `name` of what `server` serves.
    init(of name: String, on server: LocalServer) {
        Thread.detachNewThread { [self] in
            guard let (nfs, file) = try? server.open(name) else { return }
            let record = NFSCalls.read(file, offset: 0, count: 4096)
            while !isEnded.load(ordering: .relaxed), (try? nfs.call(record, "READ")) != nil {
                done.add(1, ordering: .relaxed)
                usleep(1000)
            }
        }
    }

    func end() { isEnded.store(true, ordering: .relaxed) }
}

extension LocalServer {
    /// A connection to the server, and the handle of the file `name` of what it serves.
    func open(_ name: String) throws -> (nfs: NFSConnection, file: [UInt8]) {
        let mount = try NFSConnection(host: "127.0.0.1", port: mountPort)
        let nfs = try NFSConnection(host: "127.0.0.1", port: port)
        guard let root = NFSCalls.opaque(try mount.call(NFSCalls.mount(directory), "MNT")),
            let file = NFSCalls.opaque(try nfs.call(NFSCalls.lookup(name, in: root), "LOOKUP"))
        else { throw TestBedError("\(name): no handle") }
        return (nfs, file)
    }
}
