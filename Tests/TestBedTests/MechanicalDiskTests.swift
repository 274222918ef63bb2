import Testing

@testable import TestBed

/// The model in its own time, held against the data sheet of the disk that it is set to.
struct MechanicalDiskTests {
    /// Drives a disk as a host does that waits for each answer, and tells how long that took, in nanoseconds.
    private func runOneByOne(
        _ disk: inout MechanicalDisk, _ kind: DiskCommand.Kind, offsets: some Sequence<Int>, length: Int,
        pause: Int = 0
    ) -> Int {
        let start = disk.time
        var now = start
        for offset in offsets {
            disk.submit(DiskCommand(identifier: 0, kind: kind, offset: offset, length: length), at: now)
            now = waitForAll(&disk).last?.time ?? now
            now += pause
        }
        return now - start
    }

    /// Advances from event to event until a command completes.
    private func waitForAll(_ disk: inout MechanicalDisk) -> [DiskCompletion] {
        while let next = disk.nextEvent {
            let completions = disk.advance(to: next)
            if !completions.isEmpty { return completions }
        }
        return []
    }

    private func randomOffsets(_ count: Int, below size: Int, seed: UInt64) -> [Int] {
        var generator = SeededGenerator(seed: seed)
        return (0..<count).map { _ in Int.random(in: 0..<size / 4096, using: &generator) * 4096 }
    }

    @Test func randomReadsTakeTheDataSheetsSeekAndHalfARevolution() {
        var disk = MechanicalDisk(parameters: .mhz2250b)
        let offsets = randomOffsets(20_000, below: disk.parameters.capacity, seed: 1)
        let each = Double(runOneByOne(&disk, .read, offsets: offsets, length: 4096)) / 20_000 / 1e6
        let statistics = disk.statistics
        #expect(abs(Double(statistics.busy.seek) / Double(statistics.seeks) / 1e6 - 12) < 0.2)
        #expect(abs(Double(statistics.busy.rotation) / 20_000 / 1e6 - 5.56) < 0.2)
        #expect(abs(each - 17.8) < 0.3)
    }

    @Test func neighbouringCylindersTakeTheTrackToTrackTime() {
        let parameters = DiskParameters.mhz2250b
        let cylinder = parameters.bytesPerTrack * parameters.surfaces
        let time = parameters.seekTime(from: 7 * cylinder, to: 8 * cylinder)
        #expect(abs(Double(time) / 1e6 - 1.5) < 0.1)
        #expect(parameters.seekTime(from: 7 * cylinder, to: 8 * cylinder - 1) == 0)
    }

    @Test(arguments: [4096, 65536, 1 << 20]) func sequentialReadsRunAtTheTransferRate(length: Int) {
        var disk = MechanicalDisk(parameters: .mhz2250b)
        disk = withoutOverhead(disk)
        let count = (64 << 20) / length
        let start = 10 << 30
        let time = runOneByOne(&disk, .read, offsets: (0..<count).map { start + $0 * length }, length: length)
        #expect(abs(rate(of: 64 << 20, in: time) - 65) < 3)
    }

    @Test func readAheadMakesUpForAHostThatThinks() {
        let parameters = withoutOverhead(MechanicalDisk(parameters: .mhz2250b)).parameters
        var without = parameters
        without.readAhead = 0
        let offsets = (0..<1000).map { $0 * 4096 }
        var disk = MechanicalDisk(parameters: parameters)
        let withIt = runOneByOne(&disk, .read, offsets: offsets, length: 4096, pause: 200_000)
        disk = MechanicalDisk(parameters: without)
        let withoutIt = runOneByOne(&disk, .read, offsets: offsets, length: 4096, pause: 200_000)
        #expect(withIt < 1000 * 250_000 + 20_000_000)
        #expect(withoutIt > 1000 * 11_000_000)
    }

    @Test func sequentialWritesRunAtTheTransferRateAndAFlushWaitsForThem() {
        var disk = MechanicalDisk(parameters: .mhz2250b)
        let count = 64
        var now = 0
        for index in 0..<count {
            disk.submit(DiskCommand(identifier: index, kind: .write, offset: index << 20, length: 1 << 20), at: now)
            now = waitForAll(&disk).last?.time ?? now
        }
        #expect(rate(of: count << 20, in: now) > 65)
        disk.submit(DiskCommand(identifier: count, kind: .flush), at: now)
        now = waitForAll(&disk).last?.time ?? now
        #expect(abs(rate(of: count << 20, in: now) - 62) < 4)
        #expect(disk.nextEvent == nil)
    }

    @Test func smallWritesAreQuickUntilTheyAreFlushed() {
        var disk = MechanicalDisk(parameters: .mhz2250b)
        let offsets = randomOffsets(100, below: disk.parameters.capacity, seed: 2)
        let written = runOneByOne(&disk, .write, offsets: offsets, length: 4096)
        #expect(written < 100 * 1_000_000)
        let flushed = runOneByOne(&disk, .flush, offsets: [0], length: 0)
        // Brought to the platter in the order that the head likes: much better than one by one, still no miracle.
        #expect(flushed > 100 * 3_000_000)
        #expect(flushed < 100 * 12_000_000)
    }

    @Test func aReadOfWhatWasJustWrittenNeedsNoHead() {
        var disk = MechanicalDisk(parameters: .mhz2250b)
        _ = runOneByOne(&disk, .write, offsets: [5 << 30], length: 4096)
        let time = runOneByOne(&disk, .read, offsets: [5 << 30], length: 4096)
        #expect(time < 1_000_000)
    }

    @Test func aFullQueueIsServedMuchFasterThanOneByOne() {
        let offsets = randomOffsets(2000, below: DiskParameters.mhz2250b.capacity, seed: 3)
        var alone = MechanicalDisk(parameters: .mhz2250b)
        let oneByOne = runOneByOne(&alone, .read, offsets: offsets, length: 4096)
        var queued = MechanicalDisk(parameters: .mhz2250b)
        for (index, offset) in offsets.enumerated() {
            queued.submit(DiskCommand(identifier: index, kind: .read, offset: offset, length: 4096), at: 0)
        }
        var answered = Set<Int>()
        var end = 0
        while let next = queued.nextEvent {
            for completion in queued.advance(to: next) {
                answered.insert(completion.identifier)
                end = completion.time
            }
        }
        #expect(answered.count == offsets.count)
        #expect(Double(end) < 0.5 * Double(oneByOne))
    }

    @Test func noCommandWaitsMuchLongerThanThePatience() {
        var disk = MechanicalDisk(parameters: .mhz2250b)
        let far = 200 << 30
        disk.submit(DiskCommand(identifier: -1, kind: .read, offset: far, length: 4096), at: 0)
        disk.submit(DiskCommand(identifier: 0, kind: .read, offset: 0, length: 4096), at: 0)
        var generator = SeededGenerator(seed: 4)
        var index = 0
        var farEnd: Int?
        // Neighbours of byte 0 arrive without a pause: each of them is nearer than the far one.
        while farEnd == nil, let next = disk.nextEvent, next < 10_000_000_000 {
            for completion in disk.advance(to: next) {
                if completion.identifier == -1 { farEnd = completion.time }
                for _ in 0..<2 {
                    index += 1
                    let offset = Int.random(in: 0..<4096, using: &generator) * 4096
                    disk.submit(DiskCommand(identifier: index, kind: .read, offset: offset, length: 4096), at: next)
                }
            }
        }
        #expect((farEnd ?? .max) < disk.parameters.patience + 200_000_000)
    }

    /// What lies near each other is read ahead, written and read while it is still in the buffer, in any order.
    @Test func anyOrderOfRequestsIsAnswered() {
        for seed in 1...50 as ClosedRange<UInt64> {
            var generator = SeededGenerator(seed: seed)
            var disk = MechanicalDisk(parameters: .mhz2250b)
            var (now, answered) = (0, 0)
            let count = 400
            for identifier in 0..<count {
                let kinds: [DiskCommand.Kind] = [.read, .read, .read, .read, .write, .write, .write, .flush]
                let kind = kinds.randomElement(using: &generator) ?? .read
                let far = Int.random(in: 0..<8, using: &generator) == 0 ? 1 << 30 : 0
                let offset = far + Int.random(in: 0..<512, using: &generator) * 4096
                let length = 4096 << Int.random(in: 0..<6, using: &generator)
                disk.submit(DiskCommand(identifier: identifier, kind: kind, offset: offset, length: length), at: now)
                now += Int.random(in: 0..<4_000_000, using: &generator)
                answered += disk.advance(to: now).count
            }
            while let next = disk.nextEvent { answered += disk.advance(to: next).count }
            #expect(answered == count)
        }
    }

    private func rate(of bytes: Int, in nanoseconds: Int) -> Double {
        Double(bytes) / 1e6 / (Double(nanoseconds) / 1e9)
    }

    private func withoutOverhead(_ disk: MechanicalDisk) -> MechanicalDisk {
        var parameters = disk.parameters
        parameters.commandOverhead = 0
        return MechanicalDisk(parameters: parameters)
    }
}
