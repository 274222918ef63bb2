import BlockStorage
import GuestFilesystems

/// Consecutive bytes of a guest's file and where they are.
public struct GuestExtent: Hashable, Sendable {
    /// The place in the file; it may reach past the file's end, to the end of a block.
    public var fileRange: ByteRange
    /// The place on the disk.
    public var diskOffset: Int
    /// Whether the blocks were written; others are allocated and read as zeros.
    public var isWritten: Bool
}

/// A place on the disk that belongs to a guest's file.
public struct GuestFilePlace: Hashable, Sendable {
    /// What is there.
    public var blockClass: BlockClass
    /// The bytes on the disk.
    public var range: ByteRange
    /// The place of the first byte in the file's contents; nil for what is not contents.
    public var fileOffset: Int?
}

extension GuestFileSystem {
    /// All places on the disk that belong to `file`: its inode, its indirect blocks or extent nodes and extended
    /// attributes in the order of the disk, then its contents in the order of the file.
    public func places(of file: GuestFile) throws(GuestFileError) -> [GuestFilePlace] {
        guard let role = ExtInodeRole(file.inode, number: file.number, superblock: geometry.superblock) else {
            return []
        }
        let walk = ExtInodeWalk(geometry: geometry, reader: reader)
        let nodes: [MetadataRun]
        do throws(StorageError) {
            nodes = try walk.metadataRuns(of: file.inode, number: file.number).filter { $0.blockClass != role.contents }
        } catch {
            throw self.error("\(error)")
        }
        var places: [GuestFilePlace] = []
        func add(_ volumeRange: ByteRange, _ blockClass: BlockClass) throws(GuestFileError) {
            try volume.map.forEachDiskRange(of: volumeRange) { (range, _) throws(GuestFileError) in
                try checkRoom(for: places.count, of: file)
                places.append(GuestFilePlace(blockClass: blockClass, range: range))
            }
        }
        try add(ByteRange(offset: file.place, length: geometry.superblock.inodeSize), .inodeTable)
        for run in nodes {
            let bytes = ByteRange(
                offset: Int(run.block) * geometry.blockSize, length: Int(run.count) * geometry.blockSize)
            try add(bytes, run.blockClass)
        }
        return places
            + (try extents(of: file)).map { extent in
                GuestFilePlace(
                    blockClass: role.contents,
                    range: ByteRange(offset: extent.diskOffset, length: extent.fileRange.length),
                    fileOffset: extent.fileRange.offset)
            }
    }

    /// Where the contents of `file` are, in the order of the file; holes, and contents within the inode, are nowhere.
    public func extents(of file: GuestFile) throws(GuestFileError) -> [GuestExtent] {
        var extents: [GuestExtent] = []
        for run in try blockRuns(of: file) {
            guard let start = byteOffset(ofLogicalBlock: run.logicalBlock) else { continue }
            let bytes = ByteRange(
                offset: Int(run.block) * geometry.blockSize, length: Int(run.count) * geometry.blockSize)
            try volume.map.forEachDiskRange(of: bytes) { (diskRange, volumeOffset) throws(GuestFileError) in
                try checkRoom(for: extents.count, of: file)
                let fileRange = ByteRange(offset: start + volumeOffset - bytes.offset, length: diskRange.length)
                extents.append(
                    GuestExtent(fileRange: fileRange, diskOffset: diskRange.offset, isWritten: run.isWritten))
            }
        }
        return extents
    }

    private func checkRoom(for count: Int, of file: GuestFile) throws(GuestFileError) {
        guard count < placeLimit else { throw error("inode \(file.number): is in more than \(placeLimit) places") }
    }

    /// Where in `file` the first byte of `block` of the file system is; nil where it is not contents, or cannot be found.
    func fileOffset(ofBlock block: UInt64, in file: GuestFile) -> Int? {
        let runs = (try? blockRuns(of: file)) ?? []
        let run = runs.last { $0.block <= block && block - $0.block < UInt64($0.count) }
        guard let run else { return nil }
        return byteOffset(ofLogicalBlock: run.logicalBlock).map { $0 + Int(block - run.block) * geometry.blockSize }
    }

    /// Calls `body` with the contents of `file` from its start to its end, a piece at a time; holes are zeros.
    ///
    /// Throws ``GuestFileError`` for an encrypted file: what the disk has of it is not its contents.
    public func forEachPiece<Failure: Error>(
        of file: GuestFile, _ body: (UnsafeRawBufferPointer) throws(Failure) -> Void
    ) throws {
        guard !file.isEncrypted else { throw error("inode \(file.number): is encrypted, and the key not here") }
        if file.inode.flags.contains(.inlineData) {
            let contents = try inlineContents(of: file)
            return try contents.withUnsafeBytes(body)
        }
        guard let end = Int(exactly: file.size) else { throw error("inode \(file.number): size \(file.size)") }
        let buffer = AlignedBuffer(count: max(1 << 20, geometry.blockSize))
        var next = 0
        for extent in try extents(of: file) where extent.isWritten && next < end {
            // What a damaged tree maps twice is read once.
            let start = max(next, extent.fileRange.offset)
            let stop = min(end, extent.fileRange.end)
            guard start < stop else { continue }
            try forEachZero(in: next..<start, buffer, body)
            for place in stride(from: start, to: stop, by: buffer.count) {
                let bytes = UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[..<min(buffer.count, stop - place)])
                let offset = extent.diskOffset + place - extent.fileRange.offset
                try reader.disk.read(
                    ByteRange(offset: offset, length: bytes.count), as: .data, into: bytes)
                try body(UnsafeRawBufferPointer(bytes))
            }
            next = stop
        }
        try forEachZero(in: next..<end, buffer, body)
    }

    private func forEachZero<Failure: Error>(
        in range: Range<Int>, _ buffer: AlignedBuffer, _ body: (UnsafeRawBufferPointer) throws(Failure) -> Void
    ) throws(Failure) {
        guard !range.isEmpty else { return }
        // No more than the hole needs: a sparse file may have as many holes as blocks.
        let zeros = UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[..<min(buffer.count, range.count)])
        zeros.initializeMemory(as: UInt8.self, repeating: 0)
        for place in stride(from: range.lowerBound, to: range.upperBound, by: zeros.count) {
            try body(UnsafeRawBufferPointer(rebasing: zeros[..<min(zeros.count, range.upperBound - place)]))
        }
    }

    /// The contents that the inode itself holds.
    func inlineContents(of file: GuestFile) throws(GuestFileError) -> [UInt8] {
        guard let data = ExtInlineData(ofInode: file.bytes.span.bytes) else {
            throw error("inode \(file.number): its inline contents make no sense")
        }
        return Array((data.head + data.rest).prefix(Int(clamping: file.size)))
    }

    /// The runs of blocks that hold the contents of `file`, in the order of the file.
    func blockRuns(of file: GuestFile) throws(GuestFileError) -> [ExtBlockRun] {
        guard let role = ExtInodeRole(file.inode, number: file.number, superblock: geometry.superblock) else {
            return []
        }
        var tree = ExtBlockTree(geometry: geometry)
        var contents: [ExtBlockRun] = []
        var nodes: [ExtBlockRun] = []
        func take(_ run: ExtBlockRun) {
            if run.level == 0 { contents.append(run) } else { nodes.append(run) }
        }
        tree.forEachRoot(of: file.inode, role, take)
        var seen: Set<UInt64> = []
        while let node = nodes.popLast() {
            try checkRoom(for: contents.count, of: file)
            guard seen.insert(node.block).inserted else { continue }
            let bytes = try bytes(ofBlock: node.block, as: .indirect)
            tree.forEachChild(
                in: bytes.span.bytes, level: node.level, logicalBlock: node.logicalBlock, mapping: role.mapping,
                inode: file.number, take)
        }
        return contents.sorted { ($0.logicalBlock, $0.block) < ($1.logicalBlock, $1.block) }
    }

    private func byteOffset(ofLogicalBlock block: UInt64) -> Int? {
        let (offset, overflow) = block.multipliedReportingOverflow(by: UInt64(geometry.blockSize))
        // No file of ext is longer than 2^63 bytes; a run that starts near there is damage.
        return overflow ? nil : Int(exactly: offset).flatMap { $0 > Int.max / 2 ? nil : $0 }
    }
}
