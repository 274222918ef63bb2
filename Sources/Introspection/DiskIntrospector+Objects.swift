import BlockStorage
import GuestFilesystems
import Synchronization

/// The object indexes of a disk's file systems, as far as they were asked for.
struct ObjectIndexes: Sendable {
    /// That of the map that they belong to.
    var generation = -1
    /// For each file system; nil where there is no index.
    var ofFileSystem: [LiveObjects?] = []
}

/// What an update of an object index begins with.
private struct ObjectUpdateStart {
    var generation: Int
    var subject: ExtDigest.Subject
    var volume: VolumeReader
    /// What was written since the last update; nil when the index has to be made.
    var written: BlockRunSet?
    /// Inodes whose directories or nodes are among it.
    var owners: Set<UInt32> = []
}

extension DiskIntrospector {
    /// What the block at `offset` is and whom it belongs to, as the guest's last committed writes have it. Blocks.
    ///
    /// The first call reads all inodes in use and all directories for an index; later ones what was written since.
    public func explain(offset: Int, _ reader: some ClassifiedReader) -> Explanation {
        guard offset >= 0, offset < diskSize else { return Explanation(offset: offset, blockClass: .unknown) }
        var explanation = Explanation(offset: offset, blockClass: blockClass(at: offset))
        let found = objects.withLock { indexes -> (number: Int, owner: UInt32)? in
            guard let place = place(of: offset, &explanation) else { return nil }
            if !explanation.blockClass.isMetadata { update(&indexes, number: place.number, reader) }
            let owner = explanation.inode.map { UInt32(truncatingIfNeeded: $0) }
            guard let owner = owner ?? indexes.of(place.number)?.owner(of: place.block) else { return nil }
            return (place.number, owner)
        }
        guard let found, let fileSystem = fileSystem(found.number, reader) else { return explanation }
        explanation.inode = UInt64(found.owner)
        explanation.path = path(of: found.owner, in: found.number, fileSystem, reader)
        guard !explanation.blockClass.isMetadata, let file = try? fileSystem.file(inode: found.owner) else {
            return explanation
        }
        for extent in (try? fileSystem.extents(of: file)) ?? [] {
            let skipped = offset - extent.diskOffset
            if skipped >= 0, skipped < extent.fileRange.length {
                explanation.fileOffset = extent.fileRange.offset + skipped
            }
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

    /// A path of `inode` in its file system, from `/`; nil when no directory leads to it.
    func path(
        of inode: UInt32, in number: Int, _ fileSystem: GuestFileSystem, _ reader: some ClassifiedReader
    ) -> ByteString? {
        objects.withLock { indexes in
            update(&indexes, number: number, reader)
            guard let index = indexes.of(number) else { return nil }
            var names: [ByteString] = []
            var next = inode
            while next != ExtInode.Number.root {
                guard names.count < Self.depthLimit, let parent = index.parent(of: next),
                    let directory = try? fileSystem.file(inode: parent),
                    let entries = try? fileSystem.entries(of: directory),
                    let entry = entries.first(where: { $0.inode == next && $0.name != "." && $0.name != ".." })
                else { return nil }
                names.append(entry.name)
                next = parent
            }
            return ByteString(path: names.reversed())
        }
    }

    /// Bytes that object indexes take, their allocations' slack included.
    public var objectIndexBytes: Int {
        objects.withLock { indexes in indexes.ofFileSystem.reduce(0) { $0 + ($1?.memoryBytes ?? 0) } }
    }

    /// Brings the index of a file system up to date, or makes it. Where it cannot be had there is none after the call.
    func update(_ indexes: inout ObjectIndexes, number: Int, _ reader: some ClassifiedReader) {
        let knownGeneration = indexes.of(number) == nil ? nil : indexes.generation
        let start = state.withLock { state -> ObjectUpdateStart? in
            guard let index = state.index, number < state.fileSystems.count else { return nil }
            let fileSystem = state.fileSystems[number]
            var start = ObjectUpdateStart(
                generation: state.generation, subject: ExtDigest.Subject(fileSystem),
                volume: VolumeReader(
                    volume: index.volumes[fileSystem.volume],
                    disk: CommittedReader(disk: reader, introspector: self)))
            if knownGeneration == state.generation { start.written = fileSystem.writtenObjects }
            start.written?.forEach { run in
                fileSystem.map.forEachOwner(in: run.block..<run.end) { start.owners.insert($0) }
            }
            fileSystem.writtenObjects = BlockRunSet()
            return start
        }
        guard let start else { return }
        let generation = start.generation
        if indexes.generation != generation {
            let count = state.withLock { $0.fileSystems.count }
            indexes = ObjectIndexes(generation: generation, ofFileSystem: Array(repeating: nil, count: count))
        }
        guard number < indexes.ofFileSystem.count else { return }
        var update = ObjectUpdate(
            subject: start.subject, reader: start.volume, objects: indexes.take(number),
            memoryLimit: max(1 << 20, diskSize / 1000),
            budget: Int(clamping: start.subject.geometry.endBlock) + Self.readAllowance)
        do {
            if let written = start.written {
                try update.run(written, owners: start.owners)
            } else {
                update.objects = LiveObjects()
                try update.build()
                share(&update.objects, ofFileSystemWith: start.subject.geometry.superblock.uuidBytes)
            }
            indexes.ofFileSystem[number] = update.objects
        } catch {
            state.withLock { state in
                if state.generation == generation { state.fileSystems[number].writtenObjects = nil }
            }
            return
        }
        // Blocks that the map does not know yet for what they are will be written unnoticed.
        let followed = update.followed
        state.withLock { state in
            guard state.generation == generation else { return }
            let fileSystem = state.fileSystems[number]
            for (table, blocks) in followed where blocks.upperBound <= fileSystem.map.blockCount {
                fileSystem.map.forEachClass(in: blocks) { _, blockClass in
                    if blockClass != .directory, blockClass != .indirect {
                        fileSystem.writtenObjects?.insert(table..<table + 1)
                    }
                }
            }
        }
    }

    private static let depthLimit = 1024
    /// Blocks that an update may read more than there are in the file system.
    private static let readAllowance = 65_536

    /// What volume and file system `offset` is in, for `explanation`; nil outside of file systems that are understood.
    private func place(of offset: Int, _ explanation: inout Explanation) -> (number: Int, block: UInt64)? {
        var result = explanation
        let place = state.withLock { state -> (Int, UInt64)? in
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
            return (number, block)
        }
        explanation = result
        return place
    }

    /// The file system with index `number`, to be read as the last commits left it.
    func fileSystem(_ number: Int, _ reader: some ClassifiedReader) -> GuestFileSystem? {
        state.withLock { state in
            guard let index = state.index, number < state.fileSystems.count else { return nil }
            let fileSystem = state.fileSystems[number]
            return GuestFileSystem(
                geometry: fileSystem.geometry,
                reader: VolumeReader(
                    volume: index.volumes[fileSystem.volume],
                    disk: CommittedReader(disk: reader, introspector: self)))
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
        defer { ofFileSystem[number] = nil }
        return ofFileSystem[number] ?? LiveObjects()
    }

    func of(_ number: Int) -> LiveObjects? {
        number < ofFileSystem.count ? ofFileSystem[number] : nil
    }
}

extension FileSystemMap {
    /// Calls `body` with the inodes that own metadata in `range`.
    fileprivate func forEachOwner(in range: Range<UInt64>, _ body: (UInt32) -> Void) {
        var block = range.lowerBound
        let limit = min(range.upperBound, blockCount)
        while block < limit {
            let piece = piece(at: block, limit: limit)
            if piece.owner != 0 { body(piece.owner) }
            block = piece.end
        }
    }
}
