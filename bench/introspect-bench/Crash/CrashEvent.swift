import Glibc
import TestBed

/// How a disk fails while a server runs.
enum CrashEvent: String, CaseIterable {
    /// Every request is answered with EIO.
    case errors
    /// The file system on it is shut down, as after an error in its journal.
    case shutdown
    /// There is no room left.
    case full = "no room"

    /// One that can happen to what `campaign` is about.
    static func random(for campaign: CrashCampaign, using generator: inout SeededGenerator) throws -> CrashEvent {
        let events = campaign == .store ? allCases : [.errors, .shutdown]
        return events.randomElement(using: &generator) ?? .errors
    }

    private static func filler(_ disk: DiskModel) -> String { "\(disk.directory)/filler" }

    func begin(on disk: DiskModel) throws {
        switch self {
        case .errors: try disk.setFailing(true)
        case .shutdown: try shutDownFileSystem(disk.directory)
        case .full:
            let result = try Command([
                "dd", "if=/dev/zero", "of=\(Self.filler(disk))", "bs=64k", "status=none",
            ]).result()
            guard result.status != 0 else { throw TestBedError("\(disk.directory) is not full") }
        }
    }

    /// The disk serves again; a file system that was shut down stays so.
    func end(on disk: DiskModel) throws {
        switch self {
        case .errors: try disk.setFailing(false)
        case .shutdown: break
        case .full: unlink(Self.filler(disk))
        }
    }

    /// Ends whatever was begun, before the file system is mounted again.
    static func endAll(on disk: DiskModel) {
        unlink(filler(disk))
    }
}

/// Has ext4 fail every operation on the file system of `directory`, with its journal not flushed (EXT4_IOC_SHUTDOWN).
private func shutDownFileSystem(_ directory: String) throws(TestBedError) {
    let request: UInt = 0x8004_587D
    var withoutLog: UInt32 = 2
    let descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { throw TestBedError.lastSystemError("open \(directory)") }
    defer { close(descriptor) }
    guard ioctl(descriptor, request, &withoutLog) == 0 else {
        throw TestBedError.lastSystemError("shut down the file system of \(directory)")
    }
}
