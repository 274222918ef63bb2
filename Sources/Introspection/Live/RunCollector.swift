import BlockStorage

/// Consecutive bytes of one class.
struct ClassRun {
    var range: ByteRange
    var blockClass: BlockClass
}

/// Takes consecutive runs and joins neighbours of one class, as many as there is room for.
///
/// So the class map is not held while the caller of ``DiskIntrospector/forEachClass(in:_:)`` looks at what it is told.
struct RunCollector {
    /// There is no room for another run, or enough was looked up for one turn.
    struct Full: Error {}

    /// What is looked up in one turn, in pieces of the map. Neighbours of one class take no room, so that room alone would
    /// let a turn go over a whole disk.
    private static let stepLimit = 256

    private let buffer: UnsafeMutableBufferPointer<ClassRun>
    private(set) var count = 0
    private var steps = 0

    /// Collects into `buffer`, which is not initialized and has room for one run at least.
    init(_ buffer: UnsafeMutableBufferPointer<ClassRun>) {
        self.buffer = buffer
    }

    /// The runs so far, which no neighbours of one class are among.
    var runs: UnsafeMutableBufferPointer<ClassRun> { .init(rebasing: buffer[..<count]) }

    mutating func append(_ range: ByteRange, _ blockClass: BlockClass) throws(Full) {
        guard steps < Self.stepLimit else { throw Full() }
        steps += 1
        if count > 0, buffer[count - 1].blockClass == blockClass {
            let start = buffer[count - 1].range.offset
            buffer[count - 1].range = ByteRange(offset: start, length: range.end - start)
            return
        }
        guard count < buffer.count else { throw Full() }
        buffer.initializeElement(at: count, to: ClassRun(range: range, blockClass: blockClass))
        count += 1
    }
}
