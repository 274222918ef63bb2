import FoundationEssentials
import Glibc

/// A running disk model with a file system on it, as a server would find a slow disk.
///
/// The model runs in a process of its own (`introspect-bench disk`), so that its mount outlives a failure here and
/// can be taken away in order.
public struct DiskModel: Sendable {
    /// The file system that the disk carries.
    public enum FileSystem: String, Sendable, CaseIterable {
        /// ext4, with mke2fs's defaults.
        case ext4
        /// XFS, with mkfs.xfs's defaults.
        case xfs
    }

    /// Where the disk's file system is mounted.
    public let directory: String
    /// The loop device that the disk is.
    public let device: LoopDevice
    private let mount: Mount
    private let controlDirectory: String

    /// Starts a disk that takes no time yet, makes the file system on it and mounts that; what it holds is in memory.
    ///
    /// - Parameters:
    ///   - preset: the model's preset by its name on the command line.
    ///   - size: bytes; nil for the whole of the preset's disk.
    public init(
        preset: String, size: Int? = nil, fileSystem: FileSystem, in temporary: TemporaryDirectory, bed: Bed
    ) throws(TestBedError) {
        controlDirectory = try temporary.makeDirectory("disk")
        let file = "\(controlDirectory)/disk"
        var words = [try Executable.path(of: "introspect-bench"), "disk", controlDirectory, "--preset", preset]
        if let size { words += ["--size", "\(size)"] }
        let process = try BackgroundProcess(words, logPath: temporary.file("disk.log"), on: bed)
        try process.wait(upTo: 10, for: "mounting") { access(file, F_OK) == 0 }
        try writeText("timing off", to: "\(controlDirectory)/control")
        device = try LoopDevice(on: file, isDirect: true, bed: bed)
        switch fileSystem {
        case .ext4: try run("mkfs.ext4", "-q", "-E", "nodiscard", device.path)
        case .xfs: try run("mkfs.xfs", "-q", "-K", device.path)
        }
        // ext4 would go on zeroing inode tables for minutes after it is mounted, in the middle of a measurement.
        let options = fileSystem == .ext4 ? "noatime,noinit_itable" : "noatime"
        mount = try Mount(
            device.path, on: try temporary.makeDirectory("store"), type: fileSystem.rawValue, options: options,
            bed: bed)
        directory = mount.directory
    }

    /// Copies `file` to `target` on the disk as a thin disk comes to lie among those of other guests: in `pieces` that
    /// are spread evenly over what is free. The others' disks, in `neighbours` at the top, are allocated and hold
    /// nothing; those of an earlier call make room.
    public func place(_ file: String, at target: String, pieces: Int) throws(TestBedError) {
        var status = stat()
        var space = statvfs()
        guard stat(file, &status) == 0, statvfs(directory, &space) == 0 else {
            throw TestBedError.lastSystemError("look at \(file) and \(directory)")
        }
        let mebibyte = 1 << 20
        let piece = (status.st_size / pieces + mebibyte) / mebibyte * mebibyte
        let free = Int(space.f_bavail) * Int(space.f_frsize) - status.st_size
        let neighbour = max(0, free * 9 / 10 / pieces)
        let neighbours = "\(directory)/neighbours"
        try run("rm", "-rf", target, neighbours)
        try run("mkdir", neighbours)
        for (number, offset) in stride(from: 0, to: status.st_size, by: piece).enumerated() {
            try run(
                "dd", "if=\(file)", "of=\(target)", "bs=1M", "iflag=skip_bytes,count_bytes", "oflag=seek_bytes",
                "skip=\(offset)", "seek=\(offset)", "count=\(piece)", "conv=notrunc,fsync", "status=none")
            try run("fallocate", "--length", "\(max(1, neighbour))", "\(neighbours)/\(number).img")
        }
    }

    /// Has the disk take its time, or none; statistics are counted only while it does.
    public func setTiming(_ isOn: Bool) throws(TestBedError) {
        try writeText(isOn ? "timing on" : "timing off", to: "\(controlDirectory)/control")
    }

    /// What the disk has done so far.
    public func statistics() throws(TestBedError) -> DiskStatistics {
        let path = "\(controlDirectory)/statistics.json"
        let text = try readText(of: path)
        guard let statistics = try? JSONDecoder().decode(DiskStatistics.self, from: Data(text.utf8)) else {
            throw TestBedError("\(path): not the disk model's statistics: \(text)")
        }
        return statistics
    }
}
