import Foundation
import Synchronization

private let directories = Mutex<[String]>([])

/// Makes an empty directory that goes away when this process exits.
public func makeDirectoryOfThisProcess() throws -> String {
    let path = FileManager.default.temporaryDirectory.appending(path: "introspect-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    chmod(path, 0o755)
    let isFirst = directories.withLock { directories in
        directories.append(path)
        return directories.count == 1
    }
    if isFirst {
        atexit {
            for path in directories.withLock({ $0 }) { try? FileManager.default.removeItem(atPath: path) }
        }
    }
    return path
}
