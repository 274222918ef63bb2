import DiskImages
import Dispatch
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
