import BlockStorage

extension DiskIntrospector {
    /// Reads partition tables, volumes and all metadata of the guest file systems, then installs what it found in
    /// one step. Blocks; up to `parallelism` reads at a time.
    ///
    /// The old map stays in service until then. Blocks that were written meanwhile wait for the next
    /// ``digest(_:)``. Bad bytes make problems in the report, never an error.
    public func scan(
        _ reader: some ClassifiedReader, parallelism: Int, options: ScanOptions = ScanOptions(),
        progress: (@Sendable (ScanProgress) -> Void)? = nil, isCancelled: @Sendable () -> Bool = { false }
    ) throws(StorageError) -> ScanReport {
        let start = ContinuousClock.now
        let granules = WriteGranules(diskSize: diskSize)
        state.withLock { $0.writtenDuringScan = granules }
        defer { state.withLock { $0.writtenDuringScan = nil } }
        var options = options
        options.parallelism = max(1, parallelism)
        var scan = try DiskScanner(reader: reader, name: name, options: options).scan {
            progress?($0)
            return !isCancelled()
        }
        if !scan.wasCancelled { scan.wasCancelled = !install(scan, isCancelled) }
        return report(of: scan, since: start)
    }

    /// Installs a map that was saved when the image's files were `files`, instead of scanning. Blocks.
    ///
    /// Reads partition tables, superblocks, group descriptors and journals; throws, and installs nothing, when the map
    /// is not of the disk as it is now, or makes no sense.
    public func load(
        _ map: SavedMap, files: [SavedMap.FileStamp], _ reader: some ClassifiedReader
    ) throws(SavedMapError) -> ScanReport {
        let start = ContinuousClock.now
        guard map.files == files else { throw SavedMapError("the image was changed after it was made") }
        let granules = WriteGranules(diskSize: diskSize)
        state.withLock { $0.writtenDuringScan = granules }
        defer { state.withLock { $0.writtenDuringScan = nil } }
        let scan = try DiskScanner(reader: reader, name: name).restore(map)
        _ = install(scan) { false }
        return report(of: scan, since: start)
    }

    /// Lets go of all that is known of the disk: every block is ``BlockClass/unknown`` until a scan is installed.
    public func forget() {
        let old = state.withLock { state in
            let old = state
            state = IntrospectorState()
            state.generation = old.generation + 1
            state.writtenDuringScan = old.writtenDuringScan
            return old
        }
        objects.withLock { $0 = ObjectIndexes() }
        // What it was is let go of without holding the map.
        withExtendedLifetime(old) {}
    }

    /// Scans the disk, which is in `files`, for a map that ``load(_:files:_:)`` takes: nil when `goOn`, which is called
    /// between reads, ends the scan. Blocks.
    public static func savedMap(
        of reader: some ClassifiedReader, name: String, files: [SavedMap.FileStamp],
        goOn: (ScanProgress) -> Bool = { _ in true }
    ) throws(StorageError) -> (map: SavedMap, problems: [String])? {
        let scan = try DiskScanner(reader: reader, name: name).scan(goOn)
        return scan.wasCancelled ? nil : (try SavedMap(scan, reader, files: files), scan.problems)
    }

    private func report(of scan: DiskScan, since start: ContinuousClock.Instant) -> ScanReport {
        ScanReport(
            status: status, bytesRead: scan.bytesRead, readCount: scan.readCount,
            duration: ContinuousClock.now - start,
            durations: scan.fileSystems.reduce(into: ScanDurations()) { $0 += $1.durations },
            fileCounts: scan.fileSystems.reduce(into: FileCounts()) { $0 += $1.counts },
            physicalVolumes: scan.layout.physicalVolumes,
            wasCancelled: scan.wasCancelled, problems: scan.problems, isPartial: scan.isPartial)
    }

    /// Rounds in which what was written meanwhile is noted without holding the map; each has less to note.
    private static let installRounds = 3
    /// Parts of disk and maps that are looked at in a round, and while the map is held: some milliseconds.
    private static let partsInRound = 1 << 22
    private static let partsAtOnce = 1 << 14

    /// Puts what was scanned in service, with what was written during the scan noted for the next digest; returns false,
    /// and does not, when the scan is to end.
    private func install(_ scan: DiskScan, _ isCancelled: () -> Bool) -> Bool {
        var new = IntrospectorState(scan, diskSize: diskSize, generation: 0)
        for fileSystem in new.fileSystems { share(fileSystem) }
        for _ in 0..<Self.installRounds {
            guard !isCancelled() else { return false }
            let granules = WriteGranules(diskSize: diskSize)
            let early = state.withLock { state in
                let early = state.writtenDuringScan
                state.writtenDuringScan = granules
                return early
            }
            early.map { new.recordMissed($0, parts: Self.partsInRound) }
        }
        let prepared = new
        // What was in service is let go of without holding the map.
        let old = state.withLock { state in
            let old = state
            state = prepared
            state.generation = old.generation + 1
            old.writtenDuringScan.map { state.recordMissed($0, parts: Self.partsAtOnce) }
            return old
        }
        withExtendedLifetime(old) {}
        Clones.add(self, with: scan.fileSystems.map(\.geometry.superblock.uuidBytes))
        return true
    }
}

extension IntrospectorState {
    /// Takes note of all that was written during a scan; the map is stale when that would look at more than `parts`.
    mutating func recordMissed(_ granules: WriteGranules, parts: Int) {
        var room = RecordingRoom(parts: parts)
        do throws(RecordingRoom.Exhausted) {
            try granules.forEachRange { (range) throws(RecordingRoom.Exhausted) in
                try room.take()
                try recordMissed(range, &room)
            }
        } catch {
            markStale("more was written during the scan than can be noted")
        }
    }
}
