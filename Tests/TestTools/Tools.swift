import Foundation

/// A tool that is not there or says that it failed.
public struct ToolFailure: Error, CustomStringConvertible {
    /// What it was asked, and what it said.
    public let description: String

    /// A failure that says so.
    public init(description: String) {
        self.description = description
    }
}

/// Runs a tool and returns what it prints; throws when it is missing or fails.
///
/// `environment` is added to this process's own.
@discardableResult
public func runTool(
    _ tool: String, _ arguments: [String], input: String = "", environment: [String: String] = [:]
) throws -> String {
    let directories = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"]
    guard
        let directory = directories.first(where: { FileManager.default.isExecutableFile(atPath: "\($0)/\(tool)") })
    else { throw ToolFailure(description: "\(tool) is not installed") }
    return try withTemporaryDirectory { scratch in
        // Files, not pipes: a tool that fills one pipe while we read the other would wait for ever.
        let names = ["in", "out", "errors"].map { "\(scratch)/\($0)" }
        try Data(input.utf8).write(to: URL(fileURLWithPath: names[0]))
        for name in names.dropFirst() { try Data().write(to: URL(fileURLWithPath: name)) }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "\(directory)/\(tool)")
        process.arguments = arguments
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        process.standardInput = FileHandle(forReadingAtPath: names[0])
        process.standardOutput = FileHandle(forWritingAtPath: names[1])
        process.standardError = FileHandle(forWritingAtPath: names[2])
        try process.run()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            let complaints = try names.dropFirst().reversed().map { try String(contentsOfFile: $0, encoding: .utf8) }
                .joined()
            throw ToolFailure(description: "\(tool) \(arguments): status \(process.terminationStatus): \(complaints)")
        }
        return String(decoding: try Data(contentsOf: URL(fileURLWithPath: names[1])), as: UTF8.self)
    }
}

/// Calls `body` with the path of an empty directory that is gone afterwards.
public func withTemporaryDirectory<Result>(_ body: (String) throws -> Result) throws -> Result {
    let path = FileManager.default.temporaryDirectory.appending(path: "introspect-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    // A datastore of this process clears its umask, and a state directory must lie where nobody else may write.
    chmod(path, 0o755)
    defer { try? FileManager.default.removeItem(atPath: path) }
    return try body(path)
}

/// Makes a file of `size` zeros that takes no space.
public func makeSparseFile(_ path: String, size: Int) throws {
    guard FileManager.default.createFile(atPath: path, contents: nil), truncate(path, size) == 0 else {
        throw ToolFailure(description: "cannot make \(path) of \(size) bytes")
    }
}

/// Calls `body` with loop devices for parts of a file; they are gone afterwards, also when the process is killed.
///
/// Needs the rights to set up loop devices.
public func withLoopDevices<Result>(
    _ path: String, parts: [(offset: Int, length: Int)], sectorSize: Int = 512, _ body: ([String]) throws -> Result
) throws -> Result {
    var devices: [String] = []
    var holders: [FileHandle] = []
    for part in parts {
        let device = try runTool(
            "losetup",
            [
                "--find", "--show", "--sector-size", "\(sectorSize)", "--offset", "\(part.offset)",
                "--sizelimit", "\(part.length)", path,
            ]
        ).trimmingCharacters(in: .whitespacesAndNewlines)
        // Detached while it is open, a loop device goes away with its last user.
        let holder = FileHandle(forReadingAtPath: device)
        try runTool("losetup", ["--detach", device])
        guard let holder else { throw ToolFailure(description: "cannot open \(device)") }
        devices.append(device)
        holders.append(holder)
    }
    defer { holders.forEach { try? $0.close() } }
    return try body(devices)
}
