import Glibc

/// Writes blocks of a file one by one, each on stable storage before the next, and tells each that is.
///
/// Every block holds its number and how often it was written, so that whoever reads the file can tell whether an
/// acknowledged write is there.
public enum SynchronousWriter {
    /// The size of a block in bytes.
    public static let blockSize = 4096
    /// The number of blocks that are written over and over.
    public static let blocks = 64
    /// What the line that tells of an acknowledged write starts with; its number follows.
    public static let acknowledgement = "acknowledged "

    /// Does `count` writes to the file at `path`, and calls `acknowledged` with the number of each when it is done.
    public static func run(path: String, count: Int, acknowledged: (Int) -> Void) throws(TestBedError) {
        let descriptor = open(path, O_RDWR | O_CREAT | O_SYNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw TestBedError.lastSystemError("open \(path)") }
        defer { close(descriptor) }
        for number in 0..<count {
            let bytes = [UInt64](repeating: UInt64(number), count: blockSize / 8)
            let offset = block(of: number) * blockSize
            let written = bytes.withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, offset) }
            guard written == blockSize else { throw TestBedError.lastSystemError("write \(number) of \(path)") }
            acknowledged(number)
        }
    }

    /// The numbers of the writes up to `last`, counted from 0, that the file at `path` should hold and does not.
    ///
    /// A later write of the same block counts too: it may have arrived without being acknowledged.
    public static func missing(in path: String, upTo last: Int) throws(TestBedError) -> [Int] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw TestBedError.lastSystemError("open \(path)") }
        defer { close(descriptor) }
        var result: [Int] = []
        for number in max(0, last - blocks + 1)...last {
            var bytes = [UInt64](repeating: .max, count: blockSize / 8)
            let offset = block(of: number) * blockSize
            let count = bytes.withUnsafeMutableBytes { pread(descriptor, $0.baseAddress, $0.count, offset) }
            let isWhole = count == blockSize && bytes.allSatisfy { $0 == bytes[0] }
            if !isWhole || bytes[0] < UInt64(number) || bytes[0] % UInt64(blocks) != UInt64(number % blocks) {
                result.append(number)
            }
        }
        return result
    }

    /// Neighbouring writes go to distant blocks.
    private static func block(of number: Int) -> Int { number % blocks * 37 % blocks }
}
