import Foundation
import Glibc
import TestBed
import TestTools

/// A FUSE file system with a file `disk` of some MiB, from which its server can be taken away.
final class FUSEDisk {
    private let process = Process()
    private let directory: String

    /// Mounts it.
    init(at directory: String, mebibytes: Int = 2) throws {
        self.directory = directory
        process.executableURL = URL(fileURLWithPath: try Executable.path(of: "introspect-bench"))
        process.arguments = ["disk", directory, "--preset", "none", "--size", "\(mebibytes)M"]
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        for _ in 0..<400 where access("\(directory)/disk", F_OK) != 0 { usleep(50_000) }
        guard access("\(directory)/disk", F_OK) == 0 else { throw POSIXError(.ENODEV) }
    }

    /// Has every read, write and flush of `disk` fail, or not any more.
    func setFailing(_ isFailing: Bool) throws {
        try "errors \(isFailing ? "on" : "off")".write(
            toFile: "\(directory)/control", atomically: false, encoding: .utf8)
    }

    /// Ends its server: everything in it is ENOTCONN from then on.
    func cutOff() {
        guard process.isRunning else { return }
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
    }

    /// Takes it out of its directory, which is to be removed.
    func remove() {
        cutOff()
        _ = try? runTool("umount", ["--lazy", directory])
    }

    deinit { remove() }
}
