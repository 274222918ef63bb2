import Console
import Foundation
import Glibc
import Synchronization
import Testing

/// Files that are made at one stroke.
@Suite struct SavedFileTests {
    private func withDirectory(_ body: (String) throws -> Void) throws {
        let path = FileManager.default.temporaryDirectory.appending(path: "introspect-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: path) }
        try body(path)
    }

    /// Several save the same file, and others of its directory, over and over: each is whole at any time.
    @Test func thoseThatAreSavedAtOnceAreWhole() throws {
        try withDirectory { directory in
            let failures = Mutex<[String]>([])
            DispatchQueue.concurrentPerform(iterations: 4) { writer in
                let bytes = [UInt8](repeating: UInt8(writer), count: 1 << 18)
                for round in 0..<60 {
                    let path = "\(directory)/\(round.isMultiple(of: 2) ? "all" : "own\(writer)")"
                    do {
                        try SavedFile.save(bytes, to: path)
                    } catch {
                        failures.withLock { $0.append("\(error)") }
                    }
                    let found = [UInt8]((try? Data(contentsOf: URL(fileURLWithPath: path))) ?? Data())
                    let isWhole = found.count == bytes.count && found.allSatisfy { $0 == found.first }
                    if !isWhole || !round.isMultiple(of: 2) && found != bytes {
                        failures.withLock { $0.append("\(path) has \(found.count) bytes of \(Set(found))") }
                    }
                }
            }
            #expect(failures.withLock { $0 } == [])
            let left = try FileManager.default.contentsOfDirectory(atPath: directory).sorted()
            #expect(left == ["all"] + (0..<4).map { "own\($0)" })
        }
    }
}
