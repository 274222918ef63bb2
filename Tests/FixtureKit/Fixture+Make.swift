import Foundation
import TestTools

extension Fixture {
    /// The fixture's files, made when they are not there yet or when a recipe has changed since.
    ///
    /// Blocks; safe from several threads and processes. The files are shared: who wants to write makes a copy.
    public func image() throws -> FixtureImage {
        let cache = Self.packageRoot.appending(path: ".build/fixtures")
        try FileManager.default.createDirectory(at: cache, withIntermediateDirectories: true)
        let lock = open(cache.appending(path: "\(name).lock").path, O_CREAT | O_RDWR | O_CLOEXEC, 0o644)
        guard lock >= 0, flock(lock, LOCK_EX) == 0 else {
            throw FixtureError(description: "\(cache.path)/\(name).lock: \(String(cString: strerror(errno)))")
        }
        defer { close(lock) }
        let directory = cache.appending(path: name)
        let stamp = directory.appending(path: "recipe")
        let wanted = try Self.recipeText()
        if (try? String(contentsOf: stamp, encoding: .utf8)) != wanted {
            try? FileManager.default.removeItem(at: directory)
            try runTool("bash", [Self.recipes.appending(path: "make").path, name, directory.path])
            try wanted.write(to: stamp, atomically: true, encoding: .utf8)
        }
        return try FixtureImage(directory: directory)
    }

    /// Everything that a fixture is made from.
    private static func recipeText() throws -> String {
        try ["make", "workloads.sh", "containers.sh", "matrix"].map {
            try String(contentsOf: recipes.appending(path: $0), encoding: .utf8)
        }.joined()
    }
}
