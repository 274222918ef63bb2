import Foundation

/// Runs a tool of e2fsprogs and returns what it prints; throws when it fails.
@discardableResult
func run(_ tool: String, _ arguments: [String], input: String? = nil) throws -> String {
    let process = Process()
    let directory = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].first {
        FileManager.default.isExecutableFile(atPath: "\($0)/\(tool)")
    }
    process.executableURL = URL(fileURLWithPath: "\(directory ?? "/usr/sbin")/\(tool)")
    process.arguments = arguments
    let output = Pipe()
    let errors = Pipe()
    process.standardOutput = output
    process.standardError = errors
    try process.run()
    let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    let complaints = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    guard process.terminationStatus == 0 else { throw ToolFailure(tool: tool, complaints: complaints) }
    return text
}

struct ToolFailure: Error {
    let tool: String
    let complaints: String
}

/// A directory that is gone after `body`; in memory where that can be had.
func withTemporaryDirectory<Result>(_ body: (String) throws -> Result) throws -> Result {
    let memory = "/dev/shm"
    let parent = FileManager.default.isWritableFile(atPath: memory) ? memory : NSTemporaryDirectory()
    let path = "\(parent)/introspect-tests-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: path) }
    return try body(path)
}

/// Bytes of a file.
func readFile(_ path: String, offset: Int, count: Int) throws -> [UInt8] {
    let handle = try FileHandle(forReadingFrom: URL(fileURLWithPath: path))
    defer { try? handle.close() }
    try handle.seek(toOffset: UInt64(offset))
    return [UInt8](try handle.read(upToCount: count) ?? Data())
}

extension [UInt8] {
    /// Stores a little-endian number.
    mutating func store<Number: FixedWidthInteger>(_ value: Number, at offset: Int) {
        for index in 0..<MemoryLayout<Number>.size {
            self[offset + index] = UInt8(truncatingIfNeeded: value >> Number(8 * index))
        }
    }
}
