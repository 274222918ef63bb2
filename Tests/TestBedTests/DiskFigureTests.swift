import Testing

@testable import TestBed

/// The presets in their own time beside what the makers of the disks say.
struct DiskFigureTests {
    /// A data sheet leaves out what a command costs beside the seek and the turn.
    private static let tolerance = 0.06

    @Test(arguments: DiskPreset.allCases) func aPresetDoesWhatItsDataSheetSays(preset: DiskPreset) {
        for (figure, sheet) in preset.dataSheet {
            let model = figure.simulated(preset.drive)
            #expect(abs(model / sheet - 1) < Self.tolerance, "\(figure): \(model), by the data sheet \(sheet)")
        }
    }

    @Test func theNearlineDisksSeeksTakeTheDataSheetsAverage() {
        var disk = MechanicalDisk(parameters: .nearline7200)
        var generator = SeededGenerator(seed: 1)
        for _ in 0..<5_000 {
            let offset = Int.random(in: 0..<disk.parameters.capacity / 4096, using: &generator) * 4096
            disk.submit(DiskCommand(identifier: 0, kind: .read, offset: offset, length: 4096), at: disk.time)
            waitForAnswer(&disk)
        }
        let statistics = disk.statistics
        #expect(abs(Double(statistics.busy.seek) / Double(statistics.seeks) / 1e6 - 8.5) < 0.2)
        #expect(abs(Double(statistics.busy.rotation) / 5_000 / 1e6 - 4.16) < 0.1)
    }

    @Test func aFlushWaitsForTheFlashUnlessTheBufferIsProtected() {
        for isProtected in [false, true] {
            var parameters = SolidStateParameters.x25m
            parameters.isPowerLossProtected = isProtected
            var disk = SolidStateDisk(parameters: parameters)
            for index in 0..<32 {
                let offset = index * 1_000_000 * 4096 % parameters.capacity
                disk.submit(DiskCommand(identifier: index, kind: .write, offset: offset, length: 4096), at: disk.time)
                waitForAnswer(&disk)
            }
            let start = disk.time
            disk.submit(DiskCommand(identifier: 32, kind: .flush), at: start)
            waitForAnswer(&disk)
            let writing = 15 * 1_000_000_000 / parameters.writesPerSecond
            #expect((disk.time - start < writing) == isProtected)
            #expect(disk.time - start >= parameters.flushLatency)
        }
    }

    @Test func aReadOvertakesWritesThatWaitForTheFlash() {
        var disk = SolidStateDisk(parameters: .x25m)
        let count = 2 * disk.parameters.writeCache / 4096
        for index in 0..<count {
            disk.submit(DiskCommand(identifier: index, kind: .write, offset: index << 20, length: 4096), at: 0)
        }
        disk.submit(DiskCommand(identifier: -1, kind: .read, offset: 50 << 30, length: 4096), at: 1_000_000)
        var answered: [Int] = []
        while let next = disk.nextEvent {
            answered += disk.advance(to: next).map(\.identifier)
        }
        #expect(Set(answered).count == count + 1)
        #expect(answered.count == count + 1)
        #expect((answered.firstIndex(of: -1) ?? .max) < count * 3 / 4)
    }

    @Test func anInstantDiskCountsWhatItIsAskedFor() {
        var disk = DiskPreset.none.drive.disk()
        disk.submit(DiskCommand(identifier: 1, kind: .write, offset: 0, length: 4096), at: 5)
        #expect(disk.advance(to: 5) == [DiskCompletion(identifier: 1, time: 5)])
        #expect(disk.nextEvent == nil)
        #expect(disk.statistics.traffic.bytesWritten == 4096)
        #expect(disk.statistics.busy.total == 0)
    }

    private func waitForAnswer(_ disk: inout some ModelledDisk) {
        while let next = disk.nextEvent {
            if !disk.advance(to: next).isEmpty { return }
        }
    }
}
