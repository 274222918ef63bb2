import BlockStorage
import Foundation
import Glibc
import Logging
import NIOCore
import Synchronization
import TestTools
import Testing

@testable import Datastore

/// Where the files of images are looked for.
struct ImagePathTests {
    private func serve(_ path: String, _ body: (Datastore) throws -> Void) throws {
        var configuration = DatastoreConfiguration(
            exports: [.init(path: "\(path)/export")], stateDirectory: "\(path)/state")
        configuration.cacheSize = 4 << 20
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        let datastore = try Datastore(configuration: configuration, logger: logger)
        defer { datastore.close() }
        try body(datastore)
    }

    private func waitForImages(_ count: Int, _ datastore: Datastore) -> [String] {
        for _ in 0..<600 where datastore.imagePaths.count < count { usleep(50_000) }
        return datastore.imagePaths
    }

    private static let descriptor = """
        # Disk DescriptorFile
        version=1
        CID=fffffffe
        parentCID=ffffffff
        createType="monolithicFlat"
        RW 4096 FLAT "NAME" 0

        """

    /// Directories and images whose names are not UTF-8, or look like the escaped form of others.
    @Test func namesInNoEncodingAreLookedAt() throws {
        try withTemporaryDirectory { path in
            mkdir("\(path)/export", 0o755)
            let names: [[UInt8]] = [[0xff, 0xfe], Array(#"\xFF"#.utf8), Array("a\nb".utf8), Array(#"c\\d"#.utf8)]
            for name in names {
                let directory = Array("\(path)/export/".utf8) + name
                let image = directory + Array("/".utf8) + name
                (directory + [0]).withUnsafeBytes { bytes in
                    #expect(mkdir(bytes.bindMemory(to: CChar.self).baseAddress!, 0o755) == 0)
                }
                (image + [0]).withUnsafeBytes { bytes in
                    let file = open(bytes.bindMemory(to: CChar.self).baseAddress!, O_CREAT | O_RDWR, 0o644)
                    #expect(ftruncate(file, 2 << 20) == 0)
                    close(file)
                }
            }
            try serve(path) { datastore in
                datastore.openImages()
                let found = waitForImages(names.count, datastore)
                let expected = names.map { name in
                    ByteString(Array("\(path)/export/".utf8) + name + Array("/".utf8) + name).description
                }
                #expect(Set(found) == Set(expected))
                for name in names {
                    let directory = Array(datastore.exports[0].path.utf8) + Array("/".utf8) + name
                    let handle = try datastore.mount(directory, client: .loopback)
                    #expect(try datastore.lookup(handle, FileName(bytes: name), as: .root).attributes.size == 2 << 20)
                }
            }
        }
    }

    /// The file of an extent is the one whose name's bytes stand in the descriptor.
    @Test func anExtentWhoseNameIsNoTextIsFound() throws {
        try withTemporaryDirectory { path in
            mkdir("\(path)/export", 0o755)
            for name in [[0xe4], Array("ä".utf8)] as [[UInt8]] {
                let file = ByteString(Array("\(path)/export/".utf8) + name).withCString {
                    open($0, O_CREAT | O_RDWR, 0o644)
                }
                #expect(ftruncate(file, 2 << 20) == 0)
                close(file)
            }
            let parts = Self.descriptor.components(separatedBy: "NAME").map { Array($0.utf8) }
            try Data(parts[0] + [0xe4] + parts[1]).write(to: URL(filePath: "\(path)/export/disk.vmdk"))
            try serve(path) { datastore in
                let root = try datastore.mount(datastore.exports[0].path, client: .loopback)
                let handle = try datastore.lookup(root, FileName("disk.vmdk"), as: .root).handle
                var buffer = ByteBuffer()
                _ = try datastore.read(handle, offset: 0, count: 512, as: .root, into: &buffer)
                #expect(waitForImages(1, datastore) == ["\(path)/export/disk.vmdk"])
                let files = datastore.files.sessions.flatMap { $0.files.map(\.path) }
                #expect(files == ["\(path)/export/disk.vmdk", #"\#(path)/export/\xE4"#])
            }
        }
    }

    /// A descriptor names files of its own directory, however it writes them.
    @Test func noDescriptorLeavesItsDirectory() throws {
        try withTemporaryDirectory { path in
            for name in ["export", "export/d"] { mkdir("\(path)/\(name)", 0o755) }
            try makeSparseFile("\(path)/export/other.img", size: 2 << 20)
            for (index, name) in [#"..\x2Fother.img"#, #"\x2E\x2E/other.img"#].enumerated() {
                try Self.descriptor.replacing("NAME", with: name).write(
                    toFile: "\(path)/export/d/\(index).vmdk", atomically: false, encoding: .utf8)
            }
            try serve(path) { datastore in
                datastore.openImages()
                // Looked at one after the other, in no particular order.
                try makeSparseFile("\(path)/export/d/last.img", size: 2 << 20)
                datastore.openImages()
                let found = waitForImages(2, datastore)
                #expect(Set(found.map { $0.split(separator: "/").last }) == ["other.img", "last.img"])
            }
        }
    }

    /// While a client changes a directory for a link and back, the image that the server looks into stays an export's.
    @Test func aDirectoryThatIsSwappedForALinkLeadsNowhere() throws {
        try withTemporaryDirectory { path in
            for name in ["export", "export/d", "outside"] { mkdir("\(path)/\(name)", 0o755) }
            // What is in the export is one disk; what the link leads to is another, of another size.
            for (directory, size) in [("export/d", 2 << 20), ("outside", 4 << 20)] {
                try makeSparseFile("\(path)/\(directory)/disk-flat.vmdk", size: size)
                try Self.descriptor.replacing("NAME", with: "disk-flat.vmdk").replacing("4096", with: "\(size / 512)")
                    .write(toFile: "\(path)/\(directory)/disk.vmdk", atomically: false, encoding: .utf8)
            }
            #expect(symlink("\(path)/outside", "\(path)/export/link") == 0)
            let isOver = Atomic(false)
            let swapper = IOPool(name: "swapper", threadCount: 1)
            swapper.submit {
                while !isOver.load(ordering: .relaxed) {
                    for (from, to) in [("d", "e"), ("link", "d"), ("d", "link"), ("e", "d")] {
                        #expect(rename("\(path)/export/\(from)", "\(path)/export/\(to)") == 0)
                    }
                }
            }
            defer {
                isOver.store(true, ordering: .relaxed)
                swapper.shutDown()
            }
            try serve(path) { datastore in
                let root = try #require(datastore.roots.values.first)
                let file = "\(root.export.path)/d/disk.vmdk"
                var (opened, refused) = (0, 0)
                while opened < 300 || refused < 300 {
                    guard let found = root.openFile(at: file) else {
                        refused += 1
                        continue
                    }
                    opened += 1
                    #expect(found.currentPath?.contains("outside") == false)
                }
                for _ in 0..<50 {
                    datastore.openImages()
                    usleep(20_000)
                    for session in datastore.files.sessions {
                        #expect(session.image.size == 2 << 20)
                        for part in session.files { #expect(!part.path.contains("outside")) }
                    }
                }
            }
        }
    }
}
