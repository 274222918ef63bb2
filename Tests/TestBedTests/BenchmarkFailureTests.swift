import Glibc
import Testing

@testable import TestBed

/// What the benchmark does when something goes wrong in the middle of a run.
@Suite(.serialized, .enabled(if: Machine.hasTestBed, "needs root, FUSE, tap and loop devices"))
struct BenchmarkFailureTests {
    @Test func itTellsWhatHappenedGoesOnAndKeepsWhatItHas() throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let inner = try temporary.makeDirectory("inner")
            let results = temporary.file("results")
            let log = Log(
                try BackgroundProcess(
                    [
                        "env", "TMPDIR=\(inner)", try Executable.path(of: "introspect-bench"), "run", "find",
                        "--servers", "off", "--rounds", "50", "--files", "100", "--size", "256M",
                        "--results", results, "--images", temporary.file("images"),
                    ], logPath: temporary.file("bench.log"), on: bed))
            try log.wait(for: "1/50 find")

            try killServer(under: inner)
            #expect(try log.wait(for: "FAILED").contains("introspectd"))
            try log.wait(for: " reads, ")

            // Its mounts are its own.
            let root = "/proc/\(log.process.identifier)/root"
            let control = try run("find", root + inner, "-maxdepth", "3", "-name", "control").split(separator: "\n")
            try writeText("errors on", to: String(try #require(control.first)))
            try log.wait(for: "FAILED")
            try writeText("errors off", to: String(try #require(control.first)))
            try log.wait(for: " reads, ")

            log.process.signal(SIGINT)
            #expect(log.process.waitForEnd(upTo: 30) == 128 + SIGINT)
            #expect(try BedTests.leftovers(inner).isEmpty)
            #expect(try BedTests.leftovers("introspect-\(log.process.identifier)-").isEmpty)
            #expect(try run("ls", inner).isEmpty)
            #expect(try run("ls", results).contains("find.off.1.json"))
        }
    }

    /// Kills the server as soon as one runs.
    private func killServer(under directory: String) throws {
        for _ in 0..<500 {
            let found = try Command(["pgrep", "-f", "introspectd serve \(directory)"]).result().output
            if let identifier = found.split(separator: "\n").first.flatMap({ pid_t($0) }) {
                kill(identifier, SIGKILL)
                return
            }
            usleep(10000)
        }
        throw TestBedError("no server runs")
    }

    /// What a process writes, read on and on.
    private final class Log {
        let process: BackgroundProcess
        private var read = 0

        init(_ process: BackgroundProcess) {
            self.process = process
        }

        /// Waits for a line with `text` among those that were not looked at yet; returns them up to its end.
        @discardableResult
        func wait(for text: String) throws -> String {
            var found = ""
            try process.wait(upTo: 120, for: text) {
                let new = String(decoding: Array(process.log.utf8).dropFirst(read), as: UTF8.self)
                guard
                    let line = new.split(separator: "\n", omittingEmptySubsequences: false).dropLast()
                        .first(where: { $0.contains(text) })
                else { return false }
                found = String(new[..<line.endIndex])
                return true
            }
            read += found.utf8.count
            return found
        }
    }
}
