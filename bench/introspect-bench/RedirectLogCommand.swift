import ArgumentParser
import BlockStorage
import Dispatch
import FoundationEssentials
import Glibc
import TestBed
import Tiering

/// What the redirect log costs beside a file: durable 4 KiB writes, recovery of a full log, destaging.
struct RedirectLogCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "redirect-log",
        abstract: "Times the redirect log on a directory, beside pwrite and fdatasync of a file there.",
        discussion: "Makes a log and two files in the directory and removes them at the end.")

    private static let blockSize = 4096

    @Argument(help: "A directory on the device.", completion: .directory)
    var directory: String

    @Option(help: "A directory on the disk with the image that blocks are moved to. (default: that of the log)")
    var imageDirectory: String?

    @Option(help: "The size of the log, in MiB.")
    var size = 1024

    @Option(help: "Rounds of each measurement; the median counts.")
    var rounds = 5

    @Option(help: "Seconds of each round.")
    var seconds = 1.0

    func run() throws {
        let work = "\(directory)/introspect-bench.\(getpid())"
        guard mkdir(work, 0o700) == 0 else { throw TestBedError.lastSystemError("mkdir \(work)") }
        defer { try? FileManager.default.removeItem(atPath: work) }
        let plain = try makeFile("\(work)/plain", size: 64 << 20)
        let disk = "\(imageDirectory ?? work)/introspect-bench.\(getpid()).image"
        let image = try makeFile(disk, size: size << 20)
        defer { unlink(disk) }
        let log = try RedirectLog(recovering: LogFile(directory: work, size: size << 20))
        let destager = Destager(log: log, openImage: { _ in UnsharedTarget(image) })
        for depth in [1, 16] {
            var ratios: [Double] = []
            var rates: (file: [Double], log: [Double]) = ([], [])
            for _ in 0..<rounds {
                let file = try rate(depth) { block, bytes throws(StorageError) in
                    try plain.write(bytes, at: block % (plain.size / Self.blockSize) * Self.blockSize)
                    try plain.flush()
                }
                let redirected = try rate(depth) { block, bytes throws(StorageError) in
                    try redirect(bytes, to: block % 4096 * Self.blockSize, log)
                }
                try destager.pass(sparing: 0)
                rates.file.append(file)
                rates.log.append(redirected)
                ratios.append(redirected / file)
            }
            print(
                "4 KiB, depth \(depth): pwrite + fdatasync \(Int(median(rates.file)))/s,",
                "redirect log \(Int(median(rates.log)))/s, ratio \(rounded(median(ratios)))")
        }
        let recovered = try fillAndRecover(log, in: work)
        try drain(recovered, to: disk)
    }

    /// Fills the log with blocks that all stay live, and opens it again.
    private func fillAndRecover(_ log: RedirectLog, in work: String) throws -> RedirectLog {
        let writers = 16
        DispatchQueue.concurrentPerform(iterations: writers) { writer in
            let buffer = AlignedBuffer(count: Self.blockSize)
            var block = writer
            // Every other block, so that nothing can be merged.
            while block * 2 * Self.blockSize < size << 20, (try? redirect(buffer.bytes, to: block * 8192, log)) != nil {
                block += writers
            }
        }
        let live = log.liveByteCount
        let start = ContinuousClock.now
        let copy = try FileDevice(path: "\(work)/\(LogFile.fileName)", access: .readWrite, mode: .directIfPossible)
        let recovered = try RedirectLog(recovering: copy)
        let time = start.duration(to: .now) / .seconds(1)
        guard recovered.liveByteCount == live else { throw TestBedError("\(recovered.liveByteCount) of \(live) bytes") }
        print(
            "recovery of a log of \(size) MiB, \(Int(recovered.fullness * 100))% full,",
            "\(live / Self.blockSize) live blocks: \(rounded(time)) s")
        return recovered
    }

    /// Moves what the log has to the image, every other block of it, beside a write of all of that part from front to
    /// back: the head passes over as much.
    private func drain(_ log: RedirectLog, to disk: String) throws {
        let image = try FileDevice(path: disk, access: .readWrite, mode: .buffered)
        let live = log.liveByteCount
        let sequential = try time {
            let chunk = AlignedBuffer(count: 4 << 20)
            for offset in stride(from: 0, to: 2 * live, by: chunk.count) {
                try image.write(UnsafeRawBufferPointer(chunk.bytes), at: offset)
            }
            try image.flush()
        }
        let drained = try time { try Destager(log: log, openImage: { _ in UnsharedTarget(image) }).pass(sparing: 0) }
        print(
            "destaging them, every other block of \(2 * live >> 20) MiB: \(rounded(Double(live) / drained / 1e6)) MB/s",
            "in \(rounded(drained)) s; these MiB written in order: \(rounded(Double(2 * live) / sequential / 1e6)) MB/s",
            "in \(rounded(sequential)) s; ratio of the times \(rounded(sequential / drained))")
    }

    private func time(_ body: () throws -> Void) rethrows -> Double {
        let start = ContinuousClock.now
        try body()
        return start.duration(to: .now) / .seconds(1)
    }

    private func redirect(
        _ bytes: UnsafeMutableRawBufferPointer, to offset: Int, _ log: RedirectLog
    ) throws(StorageError) {
        try redirect(UnsafeRawBufferPointer(bytes), to: offset, log)
    }

    private func redirect(_ bytes: UnsafeRawBufferPointer, to offset: Int, _ log: RedirectLog) throws(StorageError) {
        guard let image = ImageIdentity([1]),
            try log.write(bytes, to: image, at: offset, priority: 0, isWanted: true)
        else { throw StorageError(.system(ENOSPC), operation: "redirect", device: directory) }
    }

    /// Writes a second that `depth` threads make, each one after the other.
    private func rate(
        _ depth: Int, _ write: @escaping @Sendable (Int, UnsafeRawBufferPointer) throws(StorageError) -> Void
    ) throws -> Double {
        let limit = ContinuousClock.now + .seconds(seconds)
        let results = ResultBox(count: depth)
        let start = ContinuousClock.now
        DispatchQueue.concurrentPerform(iterations: depth) { thread in
            let buffer = AlignedBuffer(count: Self.blockSize)
            var count = 0
            do throws(StorageError) {
                while ContinuousClock.now < limit {
                    // Far from its neighbours, as metadata is.
                    let block = (count &* 7919 &+ thread) & 0xFFFF
                    try write(block / 16 * 16 + thread, UnsafeRawBufferPointer(buffer.bytes))
                    count += 1
                }
                results.set(.success(count), at: thread)
            } catch {
                results.set(.failure(error), at: thread)
            }
        }
        return Double(try results.sum()) / (start.duration(to: .now) / .seconds(1))
    }

    private func makeFile(_ path: String, size: Int) throws -> FileDevice {
        let descriptor = open(path, O_RDWR | O_CREAT | O_EXCL, 0o600)
        guard descriptor >= 0 else { throw TestBedError.lastSystemError("make \(path)") }
        defer { close(descriptor) }
        let zeros = [UInt8](repeating: 0, count: 1 << 20)
        for offset in stride(from: 0, to: size, by: zeros.count) {
            guard pwrite(descriptor, zeros, zeros.count, offset) == zeros.count else {
                throw TestBedError.lastSystemError("write \(path)")
            }
        }
        guard fsync(descriptor) == 0 else { throw TestBedError.lastSystemError("sync \(path)") }
        return try FileDevice(path: path, access: .readWrite, mode: .directIfPossible)
    }

    private func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }

    private func rounded(_ value: Double) -> Double { (value * 100).rounded() / 100 }
}

/// What each thread found.
private final class ResultBox: @unchecked Sendable {
    private let monitor = Monitor()
    private var results: [Result<Int, StorageError>]

    init(count: Int) {
        results = Array(repeating: .success(0), count: count)
    }

    func set(_ result: Result<Int, StorageError>, at index: Int) {
        monitor.withLock { results[index] = result }
    }

    func sum() throws -> Int {
        try monitor.withLock { results }.reduce(0) { try $0 + $1.get() }
    }
}
