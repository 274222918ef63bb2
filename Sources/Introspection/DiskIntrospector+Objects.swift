import BlockStorage
import GuestFilesystems
import Synchronization

/// The object indexes of a disk's file systems, as far as they were asked for.
struct ObjectIndexes: Sendable {
    /// That of the map that they belong to.
    var generation = -1
    /// For each file system; nil where there is no index.
    var ofFileSystem: [LiveObjects?] = []
    /// File systems with more in them than an index may take or read, which is not tried again.
    var overflowed: Set<Int> = []
}

/// What an update of an object index begins with.
private struct ObjectUpdateStart {
    var generation: Int
    var subject: ExtDigest.Subject
    var volume: VolumeReader
    /// What was written since the last update; nil when the index has to be made.
    var written: BlockRunSet?
}

extension DiskIntrospector {
    /// What the block at `offset` is and whom it belongs to, as the guest's last committed writes have it. Blocks.
    ///
    /// The first call reads all inodes in use and all directories for an index; later ones what was written since.
    public func explain(offset: Int, _ reader: some ClassifiedReader) -> Explanation {
        guard offset >= 0, offset < diskSize else { return Explanation(offset: offset, blockClass: .unknown) }
        var explanation = Explanation(offset: offset, blockClass: blockClass(at: offset))
        guard let place = place(of: offset, &explanation), let fileSystem = fileSystem(place.number, reader) else {
            return explanation
        }
        let known = explanation.inode.map { UInt32(truncatingIfNeeded: $0) }
        // Structures that no inode owns need none.
        let isNeeded = known != nil || !explanation.blockClass.isMetadata
        guard isNeeded, let index = currentIndex(of: place.number, reader),
            let owner = known ?? index.owner(of: place.block)
        else { return explanation }
        explanation.inode = UInt64(owner)
        explanation.path = fileSystem.path(of: owner, index)
        if !explanation.blockClass.isMetadata, let file = try? fileSystem.file(inode: owner) {
            explanation.fileOffset = fileSystem.fileOffset(ofBlock: place.block, in: file).map { $0 + place.inBlock }
        }
        return explanation
    }

    /// All places on the disk that belong to the guest's file at `path`, as its last committed writes have it; `volume`
    /// is the name of the file system's volume, and may be left out when there is one file system only. Blocks.
    public func places(
        of path: ByteString, volume: String?, _ reader: some ClassifiedReader
    ) throws(GuestFileError) -> [GuestFilePlace] {
        let count = state.withLock { $0.fileSystems.count }
        let known = (0..<count).compactMap { fileSystem($0, reader) }
        let wanted = known.filter { volume == nil || $0.volume.name == volume }
        guard let fileSystem = wanted.first, wanted.count == 1 else {
            let names = known.map(\.volume.name).joined(separator: ", ")
            throw GuestFileError("\(name): \(volume ?? "one file system") is wanted, it has: \(names)")
        }
        return try fileSystem.places(of: fileSystem.file(at: path))
    }

    /// Bytes that object indexes take, their allocations' slack included.
    public var objectIndexBytes: Int {
        objects.withLock { indexes in indexes.ofFileSystem.reduce(0) { $0 + ($1?.memoryBytes ?? 0) } }
    }

    /// Gives the memory of all object indexes back; who needs one again has it made anew. Waits for who makes one.
    public func dropObjectIndexes() {
        objectTurn.whileAlone {
            objects.withLock { $0.ofFileSystem = $0.ofFileSystem.map { _ in nil } }
        }
    }

    /// The index of a file system, brought up to date or made; nil where it cannot be had. Blocks.
    func currentIndex(of number: Int, _ reader: some ClassifiedReader) -> LiveObjects? {
        objectTurn.whileAlone {
            update(number, reader)
            return objects.withLock { $0.of(number) }
        }
    }

    /// Brings the index of a file system up to date, or makes it. Where it cannot be had there is none after the call.
    ///
    /// Nothing is held while something is read, and the map for a few steps at a time (invariant 10).
    private func update(_ number: Int, _ reader: some ClassifiedReader) {
        let (generation, isKnown, hasOverflowed) = objects.withLock {
            ($0.generation, $0.of(number) != nil, $0.overflowed.contains(number))
        }
        if hasOverflowed, state.withLock({ $0.generation == generation }) { return }
        guard let start = beginUpdate(of: number, known: isKnown ? generation : nil, reader) else { return }
        let limits = ObjectLimits(of: reader, start.subject.geometry)
        var update = ObjectUpdate(
            subject: start.subject, reader: start.volume, objects: takeIndex(of: number, generation: start.generation),
            memoryLimit: limits.memory, budget: limits.blocks)
        do {
            if let written = start.written {
                try update.run(written, owners: owners(of: written, in: number, generation: start.generation))
            } else {
                update.objects = LiveObjects()
                try update.build()
                share(&update.objects, ofFileSystemWith: start.subject.geometry.superblock.uuidBytes)
            }
        } catch {
            if error is ObjectUpdate.Overflow { objects.withLock { _ = $0.overflowed.insert(number) } }
            return access(number, generation: start.generation) { $0.writtenObjects = nil }
        }
        let made = update.objects
        objects.withLock { $0.put(made, number, generation: start.generation) }
        for (table, blocks) in update.followed {
            watch(table, if: blocks, in: number, generation: start.generation)
        }
    }

    /// What is known of a file system until now, which is not here any more then.
    private func takeIndex(of number: Int, generation: Int) -> LiveObjects {
        let count = state.withLock { $0.fileSystems.count }
        return objects.withLock { indexes in
            if indexes.generation != generation {
                indexes = ObjectIndexes(generation: generation, ofFileSystem: Array(repeating: nil, count: count))
            }
            return indexes.take(number)
        }
    }

    private func beginUpdate(
        of number: Int, known: Int?, _ reader: some ClassifiedReader
    ) -> ObjectUpdateStart? {
        state.withLock { state in
            guard let index = state.index, number < state.fileSystems.count else { return nil }
            let fileSystem = state.fileSystems[number]
            var start = ObjectUpdateStart(
                generation: state.generation, subject: ExtDigest.Subject(fileSystem),
                volume: VolumeReader(
                    volume: index.volumes[fileSystem.volume],
                    disk: CommittedReader(disk: reader, introspector: self)))
            if known == state.generation { start.written = fileSystem.writtenObjects }
            fileSystem.writtenObjects = BlockRunSet()
            return start
        }
    }

    /// Pieces of the map that are looked at while it is held.
    private static let piecesAtOnce = 256

    /// The inodes whose metadata is among `written`.
    private func owners(of written: BlockRunSet, in number: Int, generation: Int) -> Set<UInt32> {
        var owners: Set<UInt32> = []
        written.forEach { run in
            var next = run.block
            while next < run.end {
                let range = next..<run.end
                next = run.end
                access(number, generation: generation) { fileSystem in
                    next = fileSystem.map.forEachPiece(in: range, limit: Self.piecesAtOnce) {
                        if $0.owner != 0 { owners.insert($0.owner) }
                    }
                }
            }
        }
        return owners
    }

    /// Has the block `table` of an inode table looked at again if there are any of `blocks` that the map does not know yet
    /// for what they are: they will be written unnoticed.
    private func watch(_ table: UInt64, if blocks: Range<UInt64>, in number: Int, generation: Int) {
        var next = blocks.lowerBound
        while next < blocks.upperBound {
            let range = next..<blocks.upperBound
            next = blocks.upperBound
            access(number, generation: generation) { fileSystem in
                var isUnknown = false
                next = fileSystem.map.forEachPiece(in: range, limit: Self.piecesAtOnce) {
                    isUnknown = isUnknown || $0.blockClass != .directory && $0.blockClass != .indirect
                }
                guard isUnknown else { return }
                fileSystem.noteTable(table)
                next = blocks.upperBound
            }
        }
    }

    /// Calls `body` with the file system of index `number`, while the map is held, if that is still of `generation`.
    private func access(_ number: Int, generation: Int, _ body: (LiveFileSystem) -> Void) {
        state.withLock { state in
            if state.generation == generation { body(state.fileSystems[number]) }
        }
    }

    /// Places of a file on the disk that are told: a striped one may be in as many as it has stripes.
    private static let placeLimit = 1 << 20

    /// What volume and file system `offset` is in, for `explanation`; nil outside of file systems that are understood.
    private func place(
        of offset: Int, _ explanation: inout Explanation
    ) -> (number: Int, block: UInt64, inBlock: Int)? {
        var result = explanation
        let place = state.withLock { state -> (Int, UInt64, Int)? in
            guard let index = state.index else { return nil }
            let byte = ByteRange(offset: offset, length: 1)
            let partitions = index.partitions.filter { $0.range.contains(byte) }
            result.partition = (partitions.first { !$0.isContainer } ?? partitions.first)?.index
            var volume: Int?
            index.forEachPart(of: byte) { if case .volume(let number, _) = $1 { volume = number } }
            guard let volume else { return nil }
            result.volume = index.volumes[volume].name
            guard let number = state.fileSystemOfVolume[volume],
                let inVolume = index.volumes[volume].map.volumeOffset(ofDiskOffset: offset)
            else { return nil }
            let fileSystem = state.fileSystems[number]
            let geometry = fileSystem.geometry
            let block = UInt64(inVolume / geometry.blockSize)
            guard block < geometry.endBlock else { return nil }
            result.fileSystem = geometry.superblock.kind.rawValue
            result.block = block
            result.blockSize = geometry.blockSize
            result.group = geometry.group(ofBlock: block)
            let owner = fileSystem.map.piece(at: block, limit: block + 1).owner
            if owner != 0 { result.inode = UInt64(owner) }
            return (number, block, inVolume % geometry.blockSize)
        }
        explanation = result
        return place
    }

    /// The file system with index `number`, to be read as the last commits left it, and no more of it than a hostile one
    /// could make somebody read in vain.
    ///
    /// - Parameter times: how often all that a scan may read may be read.
    func fileSystem(_ number: Int, _ reader: some ClassifiedReader, times: Int = 1) -> GuestFileSystem? {
        let readLimit = ScanOptions(storedBytes: reader.storedBytes).readLimit
        let budget = readLimit.multipliedReportingOverflow(by: times)
        let limited = LimitedReader(
            CommittedReader(disk: reader, introspector: self), budget: budget.overflow ? .max : budget.partialValue)
        return state.withLock { state in
            guard let index = state.index, number < state.fileSystems.count else { return nil }
            let fileSystem = state.fileSystems[number]
            return GuestFileSystem(
                geometry: fileSystem.geometry,
                reader: VolumeReader(volume: index.volumes[fileSystem.volume], disk: limited),
                placeLimit: Self.placeLimit)
        }
    }

    /// Calls `body` with runs that cover the disk without a gap, in order, each with its class and the inode it
    /// belongs to, owners of data included; reads all metadata through `reader`. Blocks.
    public func forEachRun(
        _ reader: some ClassifiedReader, _ body: (ByteRange, BlockClass, _ owner: UInt64?) -> Void
    ) throws(StorageError) {
        let index = try ObjectIndex(reader: reader, name: name)
        index.forEachRun(in: ByteRange(offset: 0, length: diskSize)) { body($0.range, $0.blockClass, $0.owner) }
    }
}

extension ObjectIndexes {
    /// The index of a file system, which is not here any more then.
    fileprivate mutating func take(_ number: Int) -> LiveObjects {
        guard number < ofFileSystem.count else { return LiveObjects() }
        defer { ofFileSystem[number] = nil }
        return ofFileSystem[number] ?? LiveObjects()
    }

    /// Takes an index, unless the disk was forgotten since it was begun.
    fileprivate mutating func put(_ index: LiveObjects, _ number: Int, generation: Int) {
        if generation == self.generation, number < ofFileSystem.count { ofFileSystem[number] = index }
    }

    func of(_ number: Int) -> LiveObjects? {
        number < ofFileSystem.count ? ofFileSystem[number] : nil
    }
}
