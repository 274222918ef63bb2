import Datastore
import Foundation
import Glibc
import RPCGenClient
import TestTools
import Testing

/// Offsets near the largest that a file, or the protocol, can have: on file systems that refuse them, and on those that
/// take them all.
@Suite("Offsets where files end", .serialized)
struct LargeOffsetTests {
    private static let fileSystems = ["ext4", "xfs", "tmpfs"]
    /// Some way into the images.
    private static let place: UInt = 4 << 20

    @Test("No WRITE to one image shows in another, whatever its offset", arguments: fileSystems)
    func keepsImagesApart(fileSystem: String) async throws {
        try await withImages(on: fileSystem) { session, images in
            for image in images {
                try #require(session.client.write(image, offset: Self.place, pattern(4096)).status == NFS3_OK)
            }
            for number in 0..<16 as Range<UInt> {
                for image in images {
                    let reply = try session.client.write(
                        image, offset: number << 56 + Self.place, pattern(4096, seed: 9))
                    #expect([NFS3_OK, NFS3ERR_FBIG].contains(reply.status))
                    #expect((reply.status == NFS3_OK) == (number == 0 || fileSystem != "ext4" && number < 128))
                    guard number > 0 else { continue }
                    try expectOthersAsTheyWere(image, images, session)
                }
                for image in images {
                    try #require(session.client.write(image, offset: Self.place, pattern(4096)).status == NFS3_OK)
                }
            }
        }
    }

    private func expectOthersAsTheyWere(_ image: Handle, _ images: [Handle], _ session: Session) throws {
        for other in images {
            let reply = try session.client.read(other, offset: Self.place, count: 4096)
            #expect(reply.bytes == pattern(4096))
        }
    }

    @Test(
        "READ, WRITE and COMMIT at the largest offsets get an answer, and what is taken is read back",
        arguments: fileSystems)
    func answersAtTheEnd(fileSystem: String) async throws {
        try await withImages(on: fileSystem) { session, images in
            let image = images[0]
            let lastPage = UInt(Int.max) & ~4095
            let offsets: [UInt] = [
                lastPage - 8192, lastPage - 1, lastPage, lastPage + 1, UInt(Int.max) - 1, UInt(Int.max), .max - 4095,
            ]
            for offset in offsets {
                for count in [1, 100, 4095, 4096, 10_000] {
                    let bytes = pattern(count, seed: 3)
                    let write = try session.client.write(image, offset: offset, bytes)
                    #expect([NFS3_OK, NFS3ERR_FBIG].contains(write.status), "\(count) bytes at \(offset)")
                    let isTooBig = fileSystem == "ext4" || offset > UInt(Int.max) - UInt(count)
                    #expect((write.status == NFS3ERR_FBIG) == isTooBig, "\(count) bytes at \(offset)")
                    #expect(try session.client.commit(image, offset: offset, count: UInt32(count)).status == NFS3_OK)
                    for _ in 0..<2 {
                        let read = try session.client.read(image, offset: offset, count: UInt32(count))
                        try #require(read.status == NFS3_OK)
                        if write.status == NFS3_OK { #expect(read.bytes == bytes) } else { #expect(read.isEndOfFile) }
                    }
                }
            }
            // In order, as what is read ahead.
            for offset in stride(from: UInt(Int.max) - 300_000, to: UInt(Int.max), by: 32768) {
                #expect(try session.client.read(image, offset: offset, count: 32768).status == NFS3_OK)
            }
        }
    }

    /// Calls `body` with two images that the server has recognised, in an export on a file system of its own.
    private func withImages(
        on fileSystem: String, _ body: (_ session: Session, _ images: [Handle]) async throws -> Void
    ) async throws {
        let names = ["a.img", "b.img"]
        var path = ""
        defer { _ = try? runTool("umount", ["--lazy", path]) }
        try await ServerUnderTest.run(prepare: { export in
            path = export
            try Self.mount(fileSystem, at: export)
            for name in names { try runTool("mke2fs", ["-q", "-t", "ext3", "-F", "\(export)/\(name)", "8192k"]) }
        }) { server in
            let session = try Session(server)
            let images = try names.map(session.handle)
            for image in images { _ = try session.client.read(image, offset: 0, count: 4096) }
            for _ in 0..<400 {
                let known = server.datastore.report().images.filter { $0.scan != nil && !$0.isBusy }
                if known.count == names.count { return try await body(session, images) }
                try await Task.sleep(for: .milliseconds(50))
            }
            Issue.record("the images were not recognised within twenty seconds")
        }
    }

    private static func mount(_ fileSystem: String, at path: String) throws {
        guard fileSystem != "tmpfs" else {
            return _ = try runTool("mount", ["-t", "tmpfs", "-o", "size=64m", "tmpfs", path])
        }
        let device = "\(path).\(fileSystem)"
        try makeSparseFile(device, size: 512 << 20)
        try runTool("mkfs.\(fileSystem)", ["-q", device])
        try runTool("mount", ["-o", "loop", device, path])
    }
}
