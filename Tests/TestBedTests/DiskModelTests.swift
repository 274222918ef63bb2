import CLinux
import Glibc
import Synchronization
import Testing

@testable import TestBed

/// What a benchmark asks of the disk model beside its time.
@Suite(.serialized, .enabled(if: Machine.hasTestBed, "needs root, FUSE, tap and loop devices"))
struct DiskModelTests {
    @Test func aRestoreBringsBackEveryByte() throws {
        try withDisk { disk in
            try run("dd", "if=/dev/urandom", "of=\(disk.directory)/kept", "bs=1M", "count=4", "status=none")
            try run("mkdir", "\(disk.directory)/directory")
            try disk.takeSnapshot()
            let before = try contents(of: disk)
            for _ in 0..<2 {
                try run(
                    "dd", "if=/dev/urandom", "of=\(disk.directory)/kept", "bs=4k", "seek=3", "count=200",
                    "conv=notrunc", "status=none")
                try run("dd", "if=/dev/zero", "of=\(disk.directory)/new", "bs=1M", "count=8", "status=none")
                try run("rmdir", "\(disk.directory)/directory")
                try run("sync", "--file-system", disk.directory)
                #expect(try contents(of: disk) != before)
                try disk.restore()
                #expect(try contents(of: disk) == before)
            }
        }
    }

    @Test func aFailingDiskAnswersWithAnErrorUntilItServesAgain() throws {
        try withDisk { disk in
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 4096)
            defer { buffer.deallocate() }
            let descriptor = open(disk.device.path, O_RDONLY | linux_o_direct)
            defer { close(descriptor) }
            try disk.setFailing(true)
            #expect(pread(descriptor, buffer.baseAddress, 4096, 8192) == -1)
            #expect(errno == EIO)
            try disk.setFailing(false)
            #expect(pread(descriptor, buffer.baseAddress, 4096, 8192) == 4096)
        }
    }

    /// Sectors of what was not flushed are old or new; a disk that lies about flushes loses the rest as well.
    @Test(arguments: [true, false]) func aCutOfThePowerLosesWhatWasNotFlushed(obeysFlushes: Bool) throws {
        try withDisk { disk in
            let path = "\(disk.directory)/file"
            func write(_ byte: UInt8, at place: Int) throws {
                let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 4096)
                defer { buffer.deallocate() }
                buffer.initializeMemory(as: UInt8.self, repeating: byte)
                let descriptor = open(path, O_RDWR | O_CREAT | linux_o_direct, 0o600)
                defer { close(descriptor) }
                #expect(pwrite(descriptor, buffer.baseAddress, buffer.count, place * buffer.count) == buffer.count)
            }
            for place in 0..<2 { try write(1, at: place) }
            try disk.becomeVolatile(obeysFlushes: obeysFlushes)
            var lost = 0
            for seed in 1...6 as ClosedRange<UInt64> {
                try write(2, at: 0)
                try run("sync", path)
                try write(3, at: 1)
                try disk.cutPower(seed: seed)
                #expect(throws: TestBedError.self) { try run("dd", "if=\(path)", "of=/dev/null", "iflag=direct") }
                try disk.restorePower()
                let bytes = try Array(readText(of: path).utf8)
                #expect(bytes.count == 128 << 10)
                let (first, second) = (Set(bytes[..<(64 << 10)]), Set(bytes[(64 << 10)...]))
                #expect(first == [2] || !obeysFlushes && first.isSubset(of: [1, 2]))
                #expect(second.isSubset(of: [1, 3]))
                lost += (obeysFlushes ? second : first).contains(1) ? 1 : 0
                for place in 0..<2 { try write(1, at: place) }
                try run("sync", path)
            }
            #expect(lost > 0)
        }
    }

    @Test func aTraceHoldsWhatTookTime() throws {
        try withDisk { disk in
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 8192, alignment: 4096)
            defer { buffer.deallocate() }
            let descriptor = open(disk.device.path, O_RDONLY | linux_o_direct)
            defer { close(descriptor) }
            #expect(pread(descriptor, buffer.baseAddress, 8192, 1 << 20) == 8192)
            try disk.setTracing(true)
            try disk.setTiming(true)
            #expect(pread(descriptor, buffer.baseAddress, 8192, 2 << 20) == 8192)
            try disk.setTiming(false)
            #expect(pread(descriptor, buffer.baseAddress, 8192, 3 << 20) == 8192)
            let reads = try disk.trace().filter { $0.kind == .read }
            #expect(reads.map(\.offset) == [2 << 20])
            #expect(reads.map(\.length) == [8192])
            try disk.setTracing(false)
            #expect(try disk.trace().isEmpty)
        }
    }

    private func withDisk(_ body: (DiskModel) throws -> Void) throws {
        try withMountsOfItsOwn {
            try Bed.with { bed in
                let temporary = try TemporaryDirectory(on: bed)
                try body(DiskModel(preset: "mhz2250b", size: 64 << 20, fileSystem: .ext4, in: temporary, bed: bed))
            }
        }
    }

    /// Runs `body` on a thread whose mounts no namespace has that another test makes meanwhile.
    private func withMountsOfItsOwn(_ body: () throws -> Void) throws {
        try withoutActuallyEscaping(body) { body in
            nonisolated(unsafe) let body = body
            let outcome = Mutex<Result<Void, any Error>?>(nil)
            Thread.start {
                let result = Result {
                    try separateMounts()
                    try body()
                }
                outcome.withLock { $0 = result }
            }.join()
            try outcome.withLock { $0 }?.get()
        }
    }

    private func contents(of disk: DiskModel) throws -> String {
        // Past the device's page cache, and with the file system's own notes of mounts left out.
        try run(
            "sh", "-c",
            "dd if='\(disk.device.path)' iflag=direct,skip_bytes skip=4096 bs=1M status=none | sha256sum")
    }
}
