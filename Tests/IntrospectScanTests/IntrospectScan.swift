import Foundation
import TestTools

/// What a run of the command said.
struct Outcome {
    var status: Int32
    var output: String { String(decoding: bytes, as: UTF8.self) }
    /// Standard output as it came.
    var bytes: Data
    var errors: String
}

/// The product, which lies beside the test bundle.
let introspectScanPath = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
    .appending(path: "introspect-scan").path

/// Runs `introspect-scan`, with its output in `output` when that is given.
func introspectScan(_ arguments: [String], output: String? = nil) throws -> Outcome {
    return try withTemporaryDirectory { scratch in
        let process = Process()
        process.executableURL = URL(fileURLWithPath: introspectScanPath)
        process.arguments = arguments
        let names = ["out", "errors"].map { "\(scratch)/\($0)" }
        for name in names { try Data().write(to: URL(fileURLWithPath: name)) }
        process.standardOutput = FileHandle(forWritingAtPath: output ?? names[0])
        process.standardError = FileHandle(forWritingAtPath: names[1])
        try process.run()
        process.waitUntilExit()
        return Outcome(
            status: process.terminationStatus, bytes: try Data(contentsOf: URL(fileURLWithPath: names[0])),
            errors: try String(contentsOfFile: names[1], encoding: .utf8))
    }
}
