import BlockStorage
import DiskImages
import Dispatch
import Foundation
import Glibc
import Introspection
import TestTools
import Testing

@testable import Datastore

/// What is taken for a saved map: whoever else can lay something there must not have the server wait for it.
struct SavedMapFileTests {
    /// Opening a fifo waits for who writes to it, for ever.
    @Test(arguments: [false, true]) func aMapThatIsNoRegularFileIsNotOpened(isLinked: Bool) throws {
        try withTemporaryDirectory { path in
            let test = try TestDatastore()
            try makeSparseFile(test.local("disk.img"), size: 1 << 20)
            let root = try test.datastore.openFile(test.lookup("disk.img")).descriptor.root
            let image = try DiskImage.raw(path: test.local("disk.img"))
            let map = try #require(SavedMapFile(of: image, in: root, maps: path))
            #expect(map.path == "\(path)/disk.img.map")
            let fifo = isLinked ? "\(path)/fifo" : map.path
            try #require(mkfifo(fifo, 0o600) == 0)
            if isLinked { symlink(fifo, map.path) }
            let hasEnded = DispatchSemaphore(value: 0)
            DispatchQueue.global().async {
                #expect(throws: SavedMapError.self) { try map.read() }
                hasEnded.signal()
            }
            let outcome = hasEnded.wait(timeout: .now() + 10)
            #expect(outcome == .success)
            // Who waits for the other end goes on.
            if outcome == .timedOut { close(open(fifo, O_RDWR | O_NONBLOCK)) }
        }
    }

    /// Without the journal a map is not followed as it should be: it is scanned, and tried again as scans are.
    @Test(.enabled(if: isRoot, "mounts a file system")) func aMapOfAnImageThatCannotBeReadIsNotUsed() throws {
        try withTemporaryDirectory { path in
            let (export, image) = ("\(path)/export", "\(path)/export/disk.img")
            for directory in ["export", "maps"] { mkdir("\(path)/\(directory)", 0o755) }
            try runTool("mke2fs", ["-q", "-t", "ext2", "-b", "1024", "\(path)/disk", "32M"])
            try runTool("mount", ["-o", "loop", "\(path)/disk", export])
            defer { _ = try? runTool("umount", ["--lazy", export]) }
            try runTool(
                "mke2fs",
                ["-q", "-t", "ext3", "-b", "1024", "-O", "^resize_inode", "-J", "size=1", "\(path)/new", "8M"])
            try runTool("cp", ["--sparse=never", "\(path)/new", image])
            try saveMap(of: image, at: "\(path)/maps/disk.img.map")
            try loseJournal(of: image, on: "\(path)/disk", at: export)
            var configuration = DatastoreConfiguration(
                exports: [.init(path: export)], stateDirectory: "\(path)/state")
            configuration.mapsDirectory = "\(path)/maps"
            let lines = LogLines()
            let datastore = try Datastore(configuration: configuration, logger: lines.logger)
            defer { datastore.close() }
            datastore.openImages()
            for _ in 0..<400 where datastore.files.sessions.first?.hasFailed != true { usleep(25_000) }
            let session = try #require(datastore.files.sessions.first)
            #expect(session.hasFailed && session.isBusy)
            #expect(session.lastScan?.problems.isEmpty == false)
        }
    }

    private func saveMap(of image: String, at path: String) throws {
        let device = try FileDevice(path: image, access: .readOnly, mode: .buffered)
        let stamp = try #require(SavedMap.FileStamp(location: ByteString(image)))
        let saved = try DiskIntrospector.savedMap(of: DeviceReader(device), name: image, files: [stamp])
        try Data(#require(saved).map.encoded).write(to: URL(filePath: path))
    }

    /// Breaks a pointer to a pointer of the file, so that its journal can be read no more, and nothing else.
    private func loseJournal(of image: String, on disk: String, at export: String) throws {
        let journal = try runTool("debugfs", ["-R", "bmap <8> 0", image])
        let block = try #require(Int(journal.trimmingCharacters(in: .whitespacesAndNewlines)))
        try runTool("umount", [export])
        let pointers = try runTool("debugfs", ["-R", "stat /disk.img", disk])
        let node = try #require(pointers.firstMatch(of: /\(DIND\):([0-9]+)/)?.1)
        let pointer = (block - 12 - 256) / 256 * 4
        try runTool("debugfs", ["-w", "-R", "zap_block -o \(pointer) -l 4 -p 255 \(node)", disk])
        try runTool("mount", ["-o", "loop", disk, export])
    }

    @Test func mapsThatClientsCouldChangeAreRefused() throws {
        try withTemporaryDirectory { path in
            for directory in ["export", "export/maps", "maps"] { mkdir("\(path)/\(directory)", 0o755) }
            symlink("\(path)/export/maps", "\(path)/link")
            func message(_ maps: String) -> String? {
                var configuration = DatastoreConfiguration(
                    exports: [.init(path: "\(path)/export")], stateDirectory: "\(path)/state")
                configuration.cacheSize = 1 << 20
                configuration.mapsDirectory = "\(path)/\(maps)"
                do {
                    try Datastore(configuration: configuration, logger: LogLines().logger).close()
                    return nil
                } catch {
                    return error.message
                }
            }
            for maps in ["export", "export/maps", "link"] {
                #expect(message(maps)?.contains("lies in the export \(path)/export") == true, "\(maps)")
            }
            #expect(message("maps") == nil)
        }
    }
}
