import CLinux
import Glibc
import TestBed

/// Where the export, the server's state and the redirect log lie: in directories of this machine, or each on a disk
/// that fails.
final class CrashStorage {
    /// The exported directory.
    let export: String
    /// The server's state.
    let state: String
    /// The directories of the redirect log.
    let logs: [String]
    /// The disks of the export and of the logs; none when they are directories of this machine.
    let disks: [DiskModel]

    init(mode: CrashMode, onDisks: Bool, obeysFlushes: Bool, in temporary: TemporaryDirectory, on bed: Bed) throws {
        let parts = 1 + mode.logs
        if onDisks {
            disks = try (0..<parts).map { number in
                try DiskModel(
                    preset: DiskPreset.none.rawValue, size: 128 << 20, fileSystem: .ext4,
                    in: TemporaryDirectory(on: bed), bed: bed)
            }
            export = "\(disks[0].directory)/export"
            state = "\(disks[0].directory)/state"
            logs = disks.dropFirst().map { "\($0.directory)/log" }
        } else {
            disks = []
            export = temporary.file("export")
            state = temporary.file("state")
            logs = (0..<mode.logs).map { temporary.file("log-\($0)") }
        }
        for directory in [export, state] + logs {
            guard mkdir(directory, 0o700) == 0 else { throw TestBedError.lastSystemError("mkdir \(directory)") }
        }
        self.obeysFlushes = obeysFlushes
    }

    private let obeysFlushes: Bool

    /// What is there now stays; later it may be lost.
    func becomeVolatile() throws {
        for disk in disks { try disk.becomeVolatile(obeysFlushes: obeysFlushes) }
    }

    /// All disks lose what they may lose.
    func cutPower(seed: UInt64) throws {
        for (index, disk) in disks.enumerated() { try disk.cutPower(seed: seed &+ UInt64(index)) }
    }

    /// All disks serve again, with their file systems checked.
    func restorePower() throws {
        for disk in disks { try disk.restorePower() }
    }
}
