import BlockStorage
import GuestFilesystems
import Volumes

/// The scan of one ext file system: what a kernel would need to know of it, in large sorted reads.
///
/// Descriptors first; then, group by group in the order of the disk, bitmaps and those parts of the inode tables that
/// are in use; then what inodes point at, level by level. No block is followed twice, whatever points at it.
final class ExtScan {
    /// Called with the bytes of each block of a directory, on any of the scan's threads: the directory's inode
    /// number, the block's place in it, the bytes.
    typealias DirectoryVisitor = @Sendable (_ inode: UInt32, _ bytes: RawSpan) -> Void

    /// Where the scan reads, and with which threads.
    struct Environment {
        let reader: VolumeReader
        let workers: ScanWorkers
        let meter: ScanMeter
        let options: ScanOptions
        /// Called between reads on the calling thread; false ends the scan early.
        let goOn: () -> Bool
    }

    let environment: Environment
    let geometry: ExtGeometry
    let collectsData: Bool
    let visitDirectory: DirectoryVisitor?
    let workers: [ScanWorker]
    var result: ScannedFileSystem
    var claims = ClaimedRuns()
    /// Runs of the fixed structures among the claims.
    private(set) var fixedCount = 0
    private var problemCount = 0

    /// - Parameters:
    ///   - collectsData: whether the contents of plain files are wanted, with their owners.
    ///   - visitDirectory: called with the bytes of each block of a directory.
    init(
        _ environment: Environment, superblock: ExtSuperblock, collectsData: Bool = false,
        visitDirectory: DirectoryVisitor? = nil
    ) {
        self.environment = environment
        self.collectsData = collectsData
        self.visitDirectory = visitDirectory
        let geometry = ExtGeometry(superblock)
        self.geometry = geometry
        let options = environment.options
        workers = (0..<environment.workers.count).map { _ in
            ScanWorker(
                geometry: geometry, collectsData: collectsData,
                runLimit: options.runLimit(blockCount: superblock.blockCount), meter: environment.meter)
        }
        result = ScannedFileSystem(
            volume: environment.reader.volume, geometry: geometry, descriptors: [],
            allocation: AllocationBits(
                blockCount: superblock.blockCount, blocksPerBit: superblock.blocksPerCluster,
                memoryLimit: options.allocationLimit))
    }

    /// Scans, and returns what was found; incomplete when it was ended early.
    func run() -> ScannedFileSystem {
        let clock = ContinuousClock()
        result.durations.groups = clock.measure {
            result.descriptors = readDescriptors()
            claims = geometry.fixedRuns(result.descriptors)
            fixedCount = claims.runs.count
            readGroups()
        }
        result.durations.levels = clock.measure { followLevels() }
        finish()
        return result
    }

    /// Adds a line to the problems, unless there are enough.
    func report(_ problem: @autoclosure () -> String) {
        problemCount += 1
        if problemCount <= environment.options.problemLimit {
            result.problems.append("\(result.volume.name): \(problem())")
        }
    }

    /// Reads `runs`, which are sorted and disjoint, and calls `body` with the bytes of each, from all threads.
    ///
    /// Runs that cannot be read are counted and left out. Returns false when the scan is to end.
    /// - Parameter isForeseen: whether the meter was told to expect these reads.
    @discardableResult
    func read(
        _ runs: [ClassifiedRange], isForeseen: Bool = false,
        _ body: @Sendable (ScanWorker, _ item: Int, RawSpan) -> Void
    ) -> Bool {
        let plan = ReadPlan(runs.lazy.map(\.range), options: environment.options)
        if !isForeseen { environment.meter.expect(bytes: plan.requests.reduce(0) { $0 + $1.range.length }) }
        let (reader, meter, workers) = (environment.reader, environment.meter, workers)
        var goesOn = true
        environment.workers.forEach(plan.requests.count) {
            goesOn = goesOn && environment.goOn()
            return goesOn
        } _: { thread, number in
            let worker = workers[thread]
            let request = plan.requests[number]
            worker.read(request, runs[request.items], reader, meter) { body(worker, $0, $1) }
        }
        return goesOn
    }

    private func finish() {
        var faults = ExtTreeFaults()
        var failures = 0
        for worker in workers {
            result.counts += worker.counts
            result.dataRuns += worker.dataRuns
            faults.add(worker.tree.faults)
            failures += worker.readFailures
        }
        let sharedBlocks = result.dataRuns.makeDisjoint()
        if sharedBlocks > 0, !geometry.superblock.readOnlyCompatible.contains(.sharedBlocks) {
            report("\(sharedBlocks) blocks of data belong to more than one place in files")
        }
        result.runs = claims.runs.filter { $0.owner != 0 }
        if let first = workers.compactMap(\.firstReadFailure).min(by: { $0.offset < $1.offset }) {
            report("\(failures) reads failed; the first: \(first.error)")
        }
        if workers.contains(where: \.hasOverflowed) {
            result.isPartial = true
            report("more metadata than \(workers[0].runLimit) runs: only a part is known")
        }
        if environment.meter.isExhausted {
            result.isPartial = true
            report("more metadata than the image has bytes on the server: only a part is known")
        }
        if result.allocation.isFull {
            report("its bitmaps take over \(environment.options.allocationLimit) bytes: free blocks count as allocated")
        }
        if let (inode, block) = faults.firstPointerOutside {
            report(
                """
                \(faults.pointersOutside) pointers outside the file system, the first in inode \(inode) to block \
                \(block), expected less than \(geometry.endBlock)
                """)
        }
        if let (inode, error) = faults.firstBadNode {
            report("\(faults.badNodes) bad extent nodes, the first of inode \(inode): \(error)")
        }
        if let conflict = claims.firstConflict {
            report(
                """
                \(claims.conflictCount) blocks are claimed twice, the first at block \(conflict.block) by inode \
                \(conflict.owner)
                """)
        }
        if problemCount > environment.options.problemLimit {
            result.problems.append(
                "\(result.volume.name): \(problemCount - environment.options.problemLimit) further problems")
        }
    }
}

extension ScanWorker {
    /// Reads a request and calls `body` with the bytes of each of its runs.
    func read(
        _ request: ReadPlan.Request, _ runs: ArraySlice<ClassifiedRange>, _ reader: VolumeReader, _ meter: ScanMeter,
        _ body: (_ item: Int, RawSpan) -> Void
    ) {
        guard !meter.isExhausted else { return }
        let target = memory(of: request.range.length)
        do throws(StorageError) {
            let pieces = runs.joiningNeighbours()
            if pieces.count == 1 {
                try reader.read(request.range, as: pieces[0].blockClass, into: target)
            } else {
                try reader.read(request.range, pieces: pieces, into: target)
            }
        } catch {
            readFailures += 1
            if let first = firstReadFailure, first.offset <= request.range.offset { return }
            firstReadFailure = (request.range.offset, error)
            return
        }
        meter.countRead(bytes: request.range.length)
        for (item, run) in zip(request.items, runs) {
            let start = run.range.offset - request.range.offset
            body(item, UnsafeRawBufferPointer(rebasing: target[start..<start + run.range.length]).bytes)
        }
    }
}
