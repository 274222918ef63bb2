import BlockStorage

/// The file of a saved map: 32 bytes of header, then the body. All numbers are little-endian.
///
/// ```
///  0  "introspect map\n" and a zero
/// 16  u32 version, 3       20  u32 CRC-32C of the body       24  u64 length of the body
/// 32  u64 size of the disk
///     u32 number of files, each: u64 size, i64 seconds, u32 nanoseconds
///     u32 number of file systems, each:
///         u32 length of the volume's name, the name
///         u32 checksum of its structures
///         u64 inodes, files, directories, symbolic links
///         u64 blocks, u32 blocks that a bit stands for, for each 32,768 bits a byte: 0 all free, 1 all allocated, 2
///             followed by the bits in 512 words of u64
///         u64 number of runs, the runs; u64 number of roots, the roots
/// ```
/// A run takes 20 bytes: u64 block, u32 count, u32 owner, u8 class, level, a bit whether it points at metadata and one
/// whether inodes may share it, zero.
///
/// Version 2 has a bit for every block, and says nothing of sharing: what is one block of extended attributes may be.
extension SavedMap {
    /// The longest file that is read: the runs and bits of a file system with 2^32 blocks.
    private static let longestFile = 1 << 30
    private static let signature = Array("introspect map\n\0".utf8)
    private static let version: UInt32 = 3
    private static let oldestVersion: UInt32 = 2
    private static let headerLength = 32

    /// The bytes of the file.
    public var encoded: [UInt8] {
        var body = LittleEndianBytes()
        body.append(UInt64(diskSize))
        body.append(UInt32(files.count))
        for file in files {
            body.append(UInt64(file.size))
            body.append(UInt64(bitPattern: Int64(file.seconds)))
            body.append(file.nanoseconds)
        }
        body.append(UInt32(fileSystems.count))
        for fileSystem in fileSystems { body.append(fileSystem) }
        var header = LittleEndianBytes(bytes: Self.signature)
        header.append(Self.version)
        header.append(body.bytes.withUnsafeBytes(CRC32C.checksum))
        header.append(UInt64(body.bytes.count))
        return header.bytes + body.bytes
    }

    /// The map that `file` holds.
    public init(from file: some BlockDevice) throws(SavedMapError) {
        let size = file.size
        guard size <= Self.longestFile else {
            throw SavedMapError("a file of \(size) bytes, expected a saved map of at most \(Self.longestFile)")
        }
        let bytes: [UInt8]
        do throws(StorageError) {
            bytes = try file.read(ByteRange(offset: 0, length: size))
        } catch {
            throw SavedMapError("\(error)")
        }
        try self.init(decoding: bytes)
    }

    /// The map in the bytes of a file.
    ///
    /// What it takes in memory is in proportion to `bytes`. The map's numbers are only as good as the file's: they are
    /// held against the disk when the map is loaded.
    public init(decoding bytes: [UInt8]) throws(SavedMapError) {
        guard bytes.starts(with: Self.signature) else {
            throw SavedMapError("not a saved map: its signature is missing")
        }
        var header = LittleEndianReader(bytes: bytes[Self.signature.count...])
        let version: UInt32 = try header.next()
        guard (Self.oldestVersion...Self.version).contains(version) else {
            throw SavedMapError(
                "a saved map of version \(version), expected \(Self.oldestVersion) to \(Self.version)")
        }
        let checksum: UInt32 = try header.next()
        let length: UInt64 = try header.next()
        let body = bytes[Self.headerLength...]
        guard length == UInt64(body.count) else {
            throw SavedMapError("a saved map of \(body.count) bytes after its header, expected \(length)")
        }
        let computed = body.withUnsafeBytes(CRC32C.checksum)
        guard computed == checksum else {
            throw SavedMapError("the checksum of the saved map is \(computed), expected \(checksum)")
        }
        var reader = LittleEndianReader(bytes: body)
        diskSize = try reader.nextCount()
        files = try reader.nextList(of: UInt32.self, minimumLength: 20) { (reader) throws(SavedMapError) in
            let size = try reader.nextCount()
            let seconds: UInt64 = try reader.next()
            return FileStamp(size: size, seconds: Int(Int64(bitPattern: seconds)), nanoseconds: try reader.next())
        }
        fileSystems = try reader.nextList(of: UInt32.self, minimumLength: 64) { (reader) throws(SavedMapError) in
            try FileSystem(&reader, version: version)
        }
    }
}

extension SavedMap.FileSystem {
    fileprivate init(_ reader: inout LittleEndianReader, version: UInt32) throws(SavedMapError) {
        let isOld = version < 3
        let name = try reader.nextList(of: UInt32.self, minimumLength: 1) { (reader) throws(SavedMapError) in
            try reader.next() as UInt8
        }
        volume = String(decoding: name, as: UTF8.self)
        structureChecksum = try reader.next()
        counts = FileCounts()
        counts.inodes = try reader.nextCount()
        counts.files = try reader.nextCount()
        counts.directories = try reader.nextCount()
        counts.symbolicLinks = try reader.nextCount()
        let blockCount: UInt64 = try reader.next()
        let blocksPerBit: UInt32 = try isOld ? 1 : reader.next()
        guard blocksPerBit.nonzeroBitCount == 1 else {
            throw SavedMapError("bits for \(blocksPerBit) blocks each in the saved map")
        }
        allocation = try reader.nextBits(blockCount, blocksPerBit: Int(blocksPerBit))
        func list() throws(SavedMapError) -> [MetadataRun] {
            try reader.nextList(of: UInt64.self, minimumLength: 20) { (reader) throws(SavedMapError) in
                try Self.run(&reader, isOld: isOld)
            }
        }
        runs = try list()
        roots = try list()
    }

    private static func run(_ reader: inout LittleEndianReader, isOld: Bool) throws(SavedMapError) -> MetadataRun {
        let block: UInt64 = try reader.next()
        let count: UInt32 = try reader.next()
        let owner: UInt32 = try reader.next()
        let kind: UInt32 = try reader.next()
        guard let blockClass = BlockClass(rawValue: UInt8(truncatingIfNeeded: kind)), count > 0 else {
            throw SavedMapError("a run of \(count) blocks of class \(kind & 0xFF) in the saved map")
        }
        return MetadataRun(
            block: block, count: count, blockClass: blockClass, level: UInt8(truncatingIfNeeded: kind >> 8),
            owner: owner, pointsAtMetadata: kind >> 16 & 1 == 1,
            isShared: blockClass == .extendedAttribute && count == 1 && (isOld || kind >> 17 & 1 == 1))
    }
}

/// Numbers one after the other.
private struct LittleEndianBytes {
    var bytes: [UInt8] = []

    mutating func append(_ value: some FixedWidthInteger) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }

    mutating func append(_ fileSystem: SavedMap.FileSystem) {
        append(UInt32(fileSystem.volume.utf8.count))
        bytes.append(contentsOf: fileSystem.volume.utf8)
        append(fileSystem.structureChecksum)
        let counts = fileSystem.counts
        for count in [counts.inodes, counts.files, counts.directories, counts.symbolicLinks] { append(UInt64(count)) }
        append(fileSystem.allocation.blockCount)
        append(UInt32(fileSystem.allocation.blocksPerBit))
        for chunk in fileSystem.allocation.chunks {
            append(chunk.count > 1 ? 2 : chunk[0] == 0 ? 0 : 1 as UInt8)
            if chunk.count > 1 { chunk.forEach { append($0) } }
        }
        for runs in [fileSystem.runs, fileSystem.roots] {
            append(UInt64(runs.count))
            for run in runs {
                append(run.block)
                append(run.count)
                append(run.owner)
                append(
                    UInt32(run.blockClass.rawValue) | UInt32(run.level) << 8 | (run.pointsAtMetadata ? 1 << 16 : 0)
                        | (run.isShared ? 1 << 17 : 0))
            }
        }
    }
}

/// Takes numbers out of untrusted bytes, one after the other.
private struct LittleEndianReader {
    var bytes: ArraySlice<UInt8>

    mutating func next<Integer: FixedWidthInteger & BitwiseCopyable>() throws(SavedMapError) -> Integer {
        let size = Integer.bitWidth / 8
        guard bytes.count >= size else { throw SavedMapError("the saved map ends early") }
        defer { bytes = bytes.dropFirst(size) }
        return bytes.withUnsafeBytes { $0.littleEndian(at: 0) }
    }

    /// A number that fits `Int` and is not negative.
    mutating func nextCount() throws(SavedMapError) -> Int {
        let value: UInt64 = try next()
        guard let count = Int(exactly: value) else { throw SavedMapError("the number \(value) in the saved map") }
        return count
    }

    /// A count, and as many elements of at least `minimumLength` bytes each.
    mutating func nextList<Count: FixedWidthInteger & UnsignedInteger & BitwiseCopyable, Element>(
        of _: Count.Type, minimumLength: Int, _ element: (inout Self) throws(SavedMapError) -> Element
    ) throws(SavedMapError) -> [Element] {
        let claimed: Count = try next()
        guard let count = Int(exactly: claimed), count <= bytes.count / minimumLength else {
            throw SavedMapError("a list of \(claimed) elements in \(bytes.count) bytes of the saved map")
        }
        var elements: [Element] = []
        elements.reserveCapacity(count)
        for _ in 0..<count { elements.append(try element(&self)) }
        return elements
    }

    mutating func nextBits(_ blockCount: UInt64, blocksPerBit: Int) throws(SavedMapError) -> AllocationBits {
        let count = AllocationBits.chunkCount(blockCount, blocksPerBit: blocksPerBit)
        guard count <= bytes.count else {
            throw SavedMapError("bits of \(blockCount) blocks in \(bytes.count) bytes of the saved map")
        }
        var chunks: [[UInt64]] = []
        chunks.reserveCapacity(count)
        for _ in 0..<count {
            let kind: UInt8 = try next()
            chunks.append(try kind == 2 ? nextWords(AllocationBits.wordsPerChunk) : [kind == 0 ? 0 : ~0])
        }
        guard let bits = AllocationBits(blockCount: blockCount, blocksPerBit: blocksPerBit, chunks: chunks) else {
            throw SavedMapError("bits that make no sense for \(blockCount) blocks in the saved map")
        }
        return bits
    }

    private mutating func nextWords(_ count: Int) throws(SavedMapError) -> [UInt64] {
        guard count <= bytes.count / 8 else {
            throw SavedMapError("\(count) words of bits in \(bytes.count) bytes of the saved map")
        }
        defer { bytes = bytes.dropFirst(8 * count) }
        return bytes.withUnsafeBytes { bytes in
            (0..<count).map { bytes.littleEndian(at: 8 * $0) }
        }
    }
}
