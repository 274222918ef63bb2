import Foundation

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
            let result = try run(Self.recipes.appending(path: "make").path, [name, directory.path])
            guard result.status == 0 else {
                throw FixtureError(description: "Fixtures/make \(name): \(result.output)")
            }
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

/// Runs a tool to its end; `output` is what it wrote, errors included. Throws when it cannot be started.
public func run(_ path: String, _ arguments: [String]) throws -> (status: Int32, output: String) {
    let process = Process()
    let pipe = Pipe()
    process.executableURL = URL(filePath: path)
    process.arguments = arguments
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = pipe
    process.standardError = pipe
    try process.run()
    let output = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    return (process.terminationStatus, output)
}
