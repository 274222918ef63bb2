import FoundationEssentials
import Glibc
import Synchronization

/// A running disk model with a file system on it, as a server would find a slow disk.
///
/// The model runs in a process of its own (`introspect-bench disk`), so that its mount outlives a failure here and
/// can be taken away in order.
public final class DiskModel: Sendable {
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
    private let fileSystem: FileSystem
    private let mount: Mutex<Mount>
    private let controlDirectory: String
    private let bed: Bed

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
        try writeText(DiskServer.Control.timingOff.rawValue, to: "\(controlDirectory)/control")
        device = try LoopDevice(on: file, isDirect: true, bed: bed)
        switch fileSystem {
        case .ext4: try run("mkfs.ext4", "-q", "-E", "nodiscard", device.path)
        case .xfs: try run("mkfs.xfs", "-q", "-K", device.path)
        }
        self.fileSystem = fileSystem
        self.bed = bed
        directory = try temporary.makeDirectory("store")
        mount = Mutex(try Self.mount(device, with: fileSystem, on: directory, bed: bed))
    }

    private static func mount(
        _ device: LoopDevice, with fileSystem: FileSystem, on directory: String, bed: Bed
    ) throws(TestBedError) -> Mount {
        // ext4 would go on zeroing inode tables for minutes after it is mounted, and read all block bitmaps, in the
        // middle of a measurement.
        let options = fileSystem == .ext4 ? "noatime,noinit_itable,no_prefetch_block_bitmaps" : "noatime"
        return try Mount(device.path, on: directory, type: fileSystem.rawValue, options: options, bed: bed)
    }

    /// Copies files to places on the disk as thin disks come to lie among those of other guests: each in `pieces` that
    /// are spread evenly over what is free. The others' disks, in `neighbours` at the top, are allocated and hold
    /// nothing; those of an earlier call make room.
    public func place(_ files: [(source: String, target: String)], pieces: Int) throws(TestBedError) {
        var sizes: [Int] = []
        for (source, _) in files {
            var status = stat()
            guard stat(source, &status) == 0 else { throw TestBedError.lastSystemError("look at \(source)") }
            sizes.append(status.st_size)
        }
        let neighbours = "\(directory)/neighbours"
        try Command(["rm", "-rf", neighbours] + files.map(\.target)).run()
        try run("mkdir", neighbours)
        var space = statvfs()
        guard statvfs(directory, &space) == 0 else { throw TestBedError.lastSystemError("look at \(directory)") }
        let mebibyte = 1 << 20
        let free = Int(space.f_bavail) * Int(space.f_frsize) - sizes.reduce(0, +)
        let neighbour = max(0, free * 9 / 10 / pieces)
        for number in 0..<pieces {
            for ((source, target), size) in zip(files, sizes) {
                let piece = (size / pieces + mebibyte) / mebibyte * mebibyte
                let offset = number * piece
                guard offset < size else { continue }
                try run(
                    "dd", "if=\(source)", "of=\(target)", "bs=1M", "iflag=skip_bytes,count_bytes",
                    "oflag=seek_bytes", "skip=\(offset)", "seek=\(offset)", "count=\(piece)", "conv=notrunc,fsync",
                    "status=none", timeLimit: 600)
            }
            try run("fallocate", "--length", "\(max(1, neighbour))", "\(neighbours)/\(number).img")
        }
    }

    /// Has the disk take its time, or none; statistics are counted only while it does.
    public func setTiming(_ isOn: Bool) throws(TestBedError) {
        try control(isOn ? .timingOn : .timingOff)
    }

    /// Remembers everything that the disk holds, for ``restore()``. The disk must take no time, and nothing on it may
    /// be open.
    public func takeSnapshot() throws(TestBedError) {
        try whileUnmounted { () throws(TestBedError) in try control(.snapshot) }
    }

    /// Makes the disk what it was at the snapshot, to the byte, with an empty buffer; under the same conditions.
    public func restore() throws(TestBedError) {
        try whileUnmounted { () throws(TestBedError) in try control(.restore) }
    }

    /// Has the disk lose at ``cutPower(seed:)`` what was written and not flushed from now on; with `obeysFlushes` false
    /// also what was, as a disk does that lies.
    public func becomeVolatile(obeysFlushes: Bool = true) throws(TestBedError) {
        try run("sync", "--file-system", directory)
        try control(.volatileOn)
        if !obeysFlushes { try control(.flushesOff) }
    }

    /// Takes the power from the disk: some or all of what was not flushed is lost, by `seed`, and every request fails
    /// until ``restorePower()``.
    public func cutPower(seed: UInt64) throws(TestBedError) {
        try control(.cut, "\(seed)")
    }

    /// Has the disk serve again as after a start of the machine: the kernel knows nothing of what it held before, the
    /// file system is checked and mounted again. Throws when its check finds more to mend than a journal does.
    public func restorePower() throws(TestBedError) {
        try mount.withLock { $0 }.unmount()
        try device.checkIsUnused()
        try control(.errorsOff)
        if fileSystem == .ext4 {
            // It replays the journal; of a file system that was in use 0 says that nothing else was amiss, 1 that small
            // things were.
            let check = try Command(["e2fsck", "-f", "-p", device.path]).result()
            guard check.status <= 1 else {
                throw TestBedError("\(device.path) after a power failure: \(check.output)\(check.errorOutput)")
            }
        }
        let again = try Self.mount(device, with: fileSystem, on: directory, bed: bed)
        mount.withLock { $0 = again }
    }

    /// Has the disk answer every request with EIO, or serve again.
    public func setFailing(_ isOn: Bool) throws(TestBedError) {
        try control(isOn ? .errorsOn : .errorsOff)
    }

    /// Has the disk note each request that takes time, from none, or forget them.
    public func setTracing(_ isOn: Bool) throws(TestBedError) {
        try control(isOn ? .tracingOn : .tracingOff)
    }

    /// The requests noted, in the order of their arrival.
    public func trace() throws(TestBedError) -> [DiskRequest] {
        try readText(of: "\(controlDirectory)/trace").split(separator: "\n").compactMap(DiskRequest.init)
    }

    private func control(_ line: DiskServer.Control, _ argument: String? = nil) throws(TestBedError) {
        let words = [line.rawValue] + (argument.map { [$0] } ?? [])
        try writeText(words.joined(separator: " "), to: "\(controlDirectory)/control")
    }

    private func whileUnmounted(_ action: () throws(TestBedError) -> Void) throws(TestBedError) {
        try mount.withLock { $0 }.unmount()
        try device.checkIsUnused()
        try action()
        let again = try Self.mount(device, with: fileSystem, on: directory, bed: bed)
        mount.withLock { $0 = again }
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
