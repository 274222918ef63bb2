import Glibc
import Synchronization

/// Programs that a guest runs: Filebench's create-files, web server and varmail, for a number of loops instead of a
/// time, so that every run does the same work.
public enum GuestLoad {
    private static let piece = 16 << 10
    private static let meanSize = FileSizes.gamma(mean: piece)

    /// Makes `count` files of 16 KiB on average in new directories of a hundred each, from 16 threads.
    ///
    /// - Returns: what was done, in a line that is the same for every run.
    public static func create(in root: String, count: Int, seed: UInt64) throws(TestBedError) -> String {
        let width = 100
        let threads = 16
        try makeDirectory(root)
        try inParallel(threads) { (thread) throws(TestBedError) in
            for number in stride(from: thread, to: (count + width - 1) / width, by: threads) {
                var generator = SeededGenerator(seed: seed &+ UInt64(number))
                let directory = "\(root)/directory-\(number)"
                try makeDirectory(directory)
                for file in number * width..<min(count, (number + 1) * width) {
                    let size = meanSize.random(using: &generator)
                    try append(size, to: "\(directory)/file-\(file)", flags: O_CREAT | O_EXCL)
                }
            }
        }
        return "\(count) files"
    }

    /// `count` times: read ten files from start to end, and append 16 KiB to a log; from 100 threads.
    ///
    /// - Parameter files: paths relative to `root`.
    /// - Returns: what was done, in a line that is the same for every run.
    public static func serveWeb(
        from root: String, files: [String], count: Int, seed: UInt64
    ) throws(TestBedError) -> String {
        let threads = 100
        let bytes = Atomic<Int>(0)
        try inParallel(threads) { (thread) throws(TestBedError) in
            for loop in stride(from: thread, to: count, by: threads) {
                var generator = SeededGenerator(seed: seed &+ UInt64(loop))
                for _ in 0..<10 {
                    guard let file = files.randomElement(using: &generator) else { return }
                    bytes.add(try read("\(root)/\(file)"), ordering: .relaxed)
                }
                try append(piece, to: "\(root)/log", flags: O_CREAT)
            }
        }
        return "\(bytes.load(ordering: .relaxed)) bytes read"
    }

    /// `count` times: delete a file, make it anew with 16 KiB on stable storage, read another and append 16 KiB to it
    /// on stable storage, read a third; from 16 threads with mail boxes of their own.
    ///
    /// - Parameter files: paths relative to `root`.
    /// - Returns: what was done, in a line that is the same for every run.
    public static func deliverMail(
        in root: String, files: [String], count: Int, seed: UInt64
    ) throws(TestBedError) -> String {
        let threads = 16
        let bytes = Atomic<Int>(0)
        try inParallel(threads) { (thread) throws(TestBedError) in
            var generator = SeededGenerator(seed: seed &+ UInt64(thread))
            let own = stride(from: thread, to: files.count, by: threads).map { "\(root)/\(files[$0])" }
            for _ in stride(from: thread, to: count, by: threads) {
                guard let old = own.randomElement(using: &generator), let read = own.randomElement(using: &generator),
                    let other = own.randomElement(using: &generator)
                else { return }
                guard unlink(old) == 0 else { throw TestBedError.lastSystemError("unlink \(old)") }
                try append(piece, to: old, flags: O_CREAT | O_EXCL, isSynchronous: true)
                bytes.add(try GuestLoad.read(read), ordering: .relaxed)
                try append(piece, to: read, flags: 0, isSynchronous: true)
                bytes.add(try GuestLoad.read(other), ordering: .relaxed)
            }
        }
        return "\(bytes.load(ordering: .relaxed)) bytes read"
    }

    // MARK: - Steps

    private static func makeDirectory(_ path: String) throws(TestBedError) {
        guard mkdir(path, 0o755) == 0 else { throw TestBedError.lastSystemError("mkdir \(path)") }
    }

    private static func append(
        _ count: Int, to path: String, flags: Int32, isSynchronous: Bool = false
    ) throws(TestBedError) {
        let descriptor = open(path, O_WRONLY | O_APPEND | O_CLOEXEC | flags, 0o644)
        guard descriptor >= 0 else { throw TestBedError.lastSystemError("open \(path)") }
        defer { close(descriptor) }
        let bytes = [UInt8](repeating: 0x5A, count: count)
        guard write(descriptor, bytes, count) == count else { throw TestBedError.lastSystemError("write \(path)") }
        if isSynchronous, fsync(descriptor) != 0 { throw TestBedError.lastSystemError("fsync \(path)") }
    }

    /// The number of bytes in the file.
    private static func read(_ path: String) throws(TestBedError) -> Int {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw TestBedError.lastSystemError("open \(path)") }
        defer { close(descriptor) }
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        var total = 0
        while true {
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            guard count >= 0 else { throw TestBedError.lastSystemError("read \(path)") }
            if count == 0 { return total }
            total += count
        }
    }

    /// Runs `body` on so many threads at once, each with its number; throws one of their errors.
    private static func inParallel(
        _ count: Int, _ body: @escaping @Sendable (Int) throws(TestBedError) -> Void
    ) throws(TestBedError) {
        let failure = Failure()
        let threads = (0..<count).map { number in
            Thread.start {
                do throws(TestBedError) {
                    try body(number)
                } catch {
                    failure.error.withLock { $0 = error }
                }
            }
        }
        threads.forEach { $0.join() }
        if let error = failure.error.withLock({ $0 }) { throw error }
    }

    private final class Failure: Sendable {
        let error = Mutex<TestBedError?>(nil)
    }
}
