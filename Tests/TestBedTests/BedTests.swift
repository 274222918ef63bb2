import CLinux
import Glibc
import Testing

@testable import TestBed

/// What the machine must offer for the tests that need a real kernel's help.
enum Machine {
    private static let devices = ["/dev/fuse", "/dev/net/tun", "/dev/loop-control"]

    /// Root, FUSE, tap devices and loop devices.
    static let hasTestBed = geteuid() == 0 && devices.allSatisfy { path in access(path, R_OK | W_OK) == 0 }
}

struct CommandTests {
    @Test func outputAndStatusAreTold() throws {
        let result = try Command(["sh", "-c", "echo one; echo two >&2; exit 3"]).result()
        #expect(result.status == 3)
        #expect(result.output == "one\n")
        #expect(result.errorOutput == "two\n")
        #expect(throws: TestBedError.self) { try run("false") }
        #expect(throws: TestBedError.self) { try run("/no/such/program") }
    }

    @Test func linesComeAsTheyAreWritten() throws {
        var lines: [String] = []
        _ = try Command(["printf", "a\\nb\\nrest"]).result { lines.append($0) }
        #expect(lines == ["a", "b", "rest"])
    }

    @Test func whatTakesTooLongIsKilledWithItsChildren() throws {
        let start = monotonicNanoseconds()
        #expect(throws: TestBedError.self) {
            try Command(["sh", "-c", "sleep 61.5 & sleep 61.5"], timeLimit: 0.2).run()
        }
        #expect(monotonicNanoseconds() - start < 5_000_000_000)
        #expect(try Command(["pgrep", "-f", "sleep 61.5"]).result().output.isEmpty)
    }

    @Test func aChildThatHoldsThePipeDoesNotHoldUs() throws {
        let start = monotonicNanoseconds()
        _ = try Command(["sh", "-c", "sleep 7.25 & echo done"]).result()
        #expect(monotonicNanoseconds() - start < 5_000_000_000)
        try run("pkill", "-f", "sleep 7.25")
    }

    @Test func aBedIsUndoneInReverseOrderAndOnce() throws {
        let order = Order()
        let bed = Bed()
        bed.register("first") { () throws(TestBedError) in order.note("first") }
        let second = bed.register("second") { () throws(TestBedError) in order.note("second") }
        bed.register("third") { () throws(TestBedError) in order.note("third") }
        try second()
        bed.tearDown()
        #expect(order.names == ["second", "third", "first"])
    }

    private final class Order: @unchecked Sendable {
        private let monitor = Monitor()
        private var noted: [String] = []

        var names: [String] { monitor.withLock { noted } }

        func note(_ name: String) {
            monitor.withLock { noted.append(name) }
        }
    }
}

@Suite(.serialized, .enabled(if: Machine.hasTestBed, "needs root, FUSE, tap and loop devices"))
struct BedTests {
    /// Mounts, loop devices, network namespaces and processes whose description holds `text`.
    static func leftovers(_ text: String) throws -> [String] {
        let listings = [
            try readText(of: "/proc/self/mounts"),
            try run("losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE"),
            try run("ip", "netns", "list"),
            try run("ps", "-eo", "args"),
        ]
        return listings.flatMap { $0.split(separator: "\n") }.map(String.init)
            .filter { $0.contains(text) && !$0.hasPrefix("ps ") }
    }

    @Test(arguments: [SIGINT, SIGTERM]) func aSignalLeavesNothingBehind(signal: Int32) throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let inner = try temporary.makeDirectory("inner")
            let process = try BackgroundProcess(
                ["env", "TMPDIR=\(inner)", try Executable.path(of: "introspect-bench"), "bed"],
                logPath: temporary.file("bed.log"), on: bed)
            try process.wait(upTo: 60, for: "ready") { process.log.contains("ready;") }
            #expect(try Self.leftovers(inner).count >= 3)
            #expect(try !Self.leftovers("introspect-\(process.identifier)-").isEmpty)
            process.signal(signal)
            #expect(process.waitForEnd(upTo: 30) == 128 + signal)
            #expect(try Self.leftovers(inner).isEmpty)
            #expect(try Self.leftovers("introspect-\(process.identifier)-").isEmpty)
            #expect(try run("ls", inner).isEmpty)
        }
    }

    @Test func aFailureWhileSettingUpLeavesNothingBehind() throws {
        var path = ""
        #expect(throws: TestBedError.self) {
            try Bed.with { bed in
                let temporary = try TemporaryDirectory(on: bed)
                path = temporary.path
                _ = try DiskModel(preset: "none", size: 64 << 20, fileSystem: .ext4, in: temporary, bed: bed)
                try run("false")
            }
        }
        #expect(!path.isEmpty)
        #expect(try Self.leftovers(path).isEmpty)
        #expect(access(path, F_OK) != 0)
    }

    @Test func theDiskModelTakesTheTimeThatItsDataSheetSays() throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let disk = try DiskModel(preset: "mhz2250b", fileSystem: .ext4, in: temporary, bed: bed)
            try disk.setTiming(true)
            let before = try disk.statistics()
            let size = DiskParameters.mhz2250b.capacity
            let descriptor = open(disk.device.path, O_RDONLY | linux_o_direct)
            defer { close(descriptor) }
            var generator = SeededGenerator(seed: 7)
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
            defer { buffer.deallocate() }
            let count = 120
            var start = monotonicNanoseconds()
            for _ in 0..<count {
                let offset = Int.random(in: 0..<size / 4096, using: &generator) * 4096
                #expect(pread(descriptor, buffer.baseAddress, 4096, offset) == 4096)
            }
            let random = Double(monotonicNanoseconds() - start) / Double(count) / 1e6
            // 12 ms seek, 5.56 ms rotation, 0.2 ms overhead and transfer; 120 draws scatter by about 0.6 ms.
            #expect(random > 15.5 && random < 21)
            // The best of several stretches: a host that is busy elsewhere for a while loses revolutions.
            let megabytes = 16
            var rate = 0.0
            for stretch in 1...6 {
                start = monotonicNanoseconds()
                for index in 0..<megabytes {
                    let offset = stretch * (20 << 30) + index << 20
                    #expect(pread(descriptor, buffer.baseAddress, 1 << 20, offset) == 1 << 20)
                }
                rate = max(rate, Double(megabytes << 20) / 1e6 / (Double(monotonicNanoseconds() - start) / 1e9))
            }
            #expect(rate > 55 && rate < 68)
            let spent = try disk.statistics().since(before)
            #expect(spent.traffic.reads >= count + 6 * megabytes)
            #expect(spent.traffic.bytesRead >= count * 4096 + 6 * megabytes << 20)
            #expect(spent.busy.total > 2_500_000_000)
        }
    }

    @Test func aGuestRunsAScriptAndTellsItsStatus() throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            var guest = UserModeLinux(on: try NetworkNamespace(on: bed), in: temporary)
            let share = try temporary.makeDirectory("share")
            guest.shares = [share]
            let result = try guest.result(of: "echo hello; uname -s; echo kept > '\(share)/file'; (exit 5)")
            #expect(result.status == 5)
            #expect(result.output == "hello\nLinux\n")
            #expect(try readText(of: "\(share)/file") == "kept\n")
            #expect(throws: TestBedError.self) { try guest.run("sleep 100", timeLimit: 6) }
            #expect(try Self.leftovers(temporary.path).isEmpty)
        }
    }
}
