import Glibc
import Synchronization
import TestBed

/// What a FILE_SYNC WRITE has to be held against: pwrite and fdatasync, by as many threads as calls are in flight.
enum LocalSync {
    /// A thread of it. `@unchecked Sendable`: one thread uses it at a time.
    private final class Writer: @unchecked Sendable {
        let descriptor: Int32
        let size: Int
        let places: Int
        var generator: SeededGenerator
        var latencies = LatencyHistogram()
        var errorNumber: Int32 = 0

        init(_ descriptor: Int32, size: Int, places: Int, seed: UInt64) {
            self.descriptor = descriptor
            self.size = size
            self.places = places
            generator = SeededGenerator(seed: seed)
        }

        func run(seconds: Double) {
            let bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: generator.next()), count: size)
            var now = monotonicNanoseconds()
            let end = now + Int(seconds * 1e9)
            while now < end {
                let offset = Int.random(in: 0..<places, using: &generator) * size
                guard pwrite(descriptor, bytes, size, offset) == size, fdatasync(descriptor) == 0 else {
                    errorNumber = errno
                    return
                }
                let then = monotonicNanoseconds()
                latencies.add(UInt64(then - now))
                now = then
            }
        }
    }

    /// Writes `cell.size` bytes at random places of the first `span` bytes of `file`.
    static func measure(_ cell: LoadCell, file: String, span: Int, seconds: Double) throws(TestBedError) -> LoadResult {
        let descriptor = open(file, O_WRONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .lastSystemError("open \(file)") }
        defer { close(descriptor) }
        let writers = (0..<cell.depth).map {
            Writer(descriptor, size: cell.size, places: span / cell.size, seed: UInt64($0))
        }
        let before = ProcessorTime.own
        let begin = monotonicNanoseconds()
        let threads = writers.map { writer in Thread.start { writer.run(seconds: seconds) } }
        for thread in threads { thread.join() }
        let elapsed = Double(monotonicNanoseconds() - begin) / 1e9
        let own = ProcessorTime.own - before
        var latencies = LatencyHistogram()
        for writer in writers {
            guard writer.errorNumber == 0 else {
                throw TestBedError("write to \(file): \(String(cString: strerror(writer.errorNumber)))")
            }
            latencies.add(writer.latencies)
        }
        return LoadResult(latencies, operations: latencies.total, seconds: elapsed, server: nil, own: own)
    }
}
