import Glibc
import TestBed
import Testing

/// What servers acknowledged, after they were killed, their machine's power was cut and their disks failed: a few rounds
/// of what `make crash` does hundreds of.
@Suite(.serialized, .enabled(if: canCrash, "needs root, FUSE and loop devices"))
struct CrashTests {
    @Test(arguments: ["off", "writeback", "writethrough", "mirror", "stripe"])
    func whatWasAcknowledgedSurvivesAKill(mode: String) throws {
        let result = try crash("kill", "--modes", mode, "--rounds", "3")
        #expect(result.status == 0, "\(result.errorOutput)\(result.output)")
    }

    @Test(arguments: ["off", "writeback", "writethrough", "mirror", "stripe"])
    func whatWasAcknowledgedSurvivesAPowerCut(mode: String) throws {
        let result = try crash("power", "--modes", mode, "--rounds", "2")
        #expect(result.status == 0, "\(result.errorOutput)\(result.output)")
    }

    @Test(arguments: [("store", "off"), ("store", "writethrough"), ("log", "writeback"), ("log", "mirror")])
    func whatWasAcknowledgedSurvivesADiskThatFails(disk: String, mode: String) throws {
        let result = try crash(disk, "--modes", mode, "--rounds", "2")
        #expect(result.status == 0, "\(result.errorOutput)\(result.output)")
    }

    /// The campaigns can fail: here on disks that answer flushes and forget them.
    @Test func aDiskThatLiesAboutFlushesIsFound() throws {
        let result = try crash("power", "--modes", "off", "--rounds", "2", "--forget-flushes")
        #expect(result.status == 1)
        #expect(result.errorOutput.contains("bytes missing") || result.errorOutput.contains("after a power failure"))
    }

    private func crash(_ words: String...) throws -> Command.Result {
        try Command([Executable.path(of: "introspect-bench"), "crash"] + words, timeLimit: 300).result()
    }
}

private let canCrash =
    geteuid() == 0 && access("/dev/fuse", R_OK | W_OK) == 0 && access("/dev/loop-control", R_OK | W_OK) == 0
