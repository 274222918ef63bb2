import BlockStorage
import Synchronization

/// What introspection knows of one virtual disk, and keeps knowing while the guest writes to it.
///
/// Holds no threads and calls nothing above it. Introspection is advice: nothing here fails, delays or reorders
/// an I/O, and a wrong class costs time only.
///
/// ## Threads
/// ``forEachClass(in:_:)``, ``recordWrite(_:at:)`` and ``status`` may be called by any thread at any time and do
/// no I/O. ``scan(_:parallelism:progress:isCancelled:)`` and ``digest(_:)`` block; each is called by one thread
/// at a time, and not both at once.
public final class DiskIntrospector: Sendable {
    /// The disk's name in reports.
    public let name: String
    /// The size of the virtual disk in bytes.
    public let diskSize: Int

    /// Knows nothing yet: every block is ``BlockClass/unknown`` until a scan is installed.
    public init(name: String, diskSize: Int) {
        precondition(diskSize >= 0)
        self.name = name
        self.diskSize = diskSize
    }

    /// Reads partition tables, volumes and all metadata of the guest file systems, then installs what it found in
    /// one step. Blocks; up to `parallelism` reads at a time.
    ///
    /// The old map stays in service until then. Writes recorded meanwhile are digested by the next
    /// ``digest(_:)``. Bad bytes make problems in the report, never an error.
    public func scan(
        _ reader: some ClassifiedReader, parallelism: Int, progress: (@Sendable (ScanProgress) -> Void)? = nil,
        isCancelled: @Sendable () -> Bool = { false }
    ) throws(StorageError) -> ScanReport {
        ScanReport(
            status: status, bytesRead: 0, readCount: 0, duration: .zero, wasCancelled: false, problems: [])
    }

    /// Calls `body` with consecutive runs, each of one class and different from the next, that cover the part of
    /// `range` that is on the disk.
    public func forEachClass(in range: ByteRange, _ body: (ByteRange, BlockClass) -> Void) {
        guard let range = range.intersection(ByteRange(offset: 0, length: diskSize)) else { return }
        body(range, .unknown)
    }

    /// Takes note of a write, after its bytes can be read through the reader that ``digest(_:)`` is given, and
    /// before it is acknowledged.
    public func recordWrite(_ bytes: UnsafeRawBufferPointer, at diskOffset: Int) -> WriteOutcome {
        .nothing
    }

    /// Reads the metadata blocks that were written, through `reader`, and brings the map up to date. Blocks.
    public func digest(_ reader: some ClassifiedReader) -> DigestResult {
        DigestResult(changes: [], hasMoreChanges: false, needsDigest: false, needsRescan: false)
    }

    /// What is known now.
    public var status: IntrospectionStatus {
        IntrospectionStatus(
            state: .notScanned, fileSystems: [], totals: ClassTotals(), pendingBytes: 0, forgottenPendingBytes: 0,
            undigestedBlocks: 0, mapMemoryBytes: 0, staleReason: nil)
    }

    /// What the block at `offset` is and whom it belongs to; reads metadata through `reader`. Blocks.
    public func explain(offset: Int, _ reader: some ClassifiedReader) throws(StorageError) -> Explanation {
        try ObjectIndex(reader: reader, name: name).explain(offset: offset)
    }

    /// Calls `body` with runs that cover the disk without a gap, in order, each with its class and the inode it
    /// belongs to, owners of data included; reads metadata through `reader`. Blocks.
    public func forEachRun(
        _ reader: some ClassifiedReader, _ body: (ByteRange, BlockClass, _ owner: UInt64?) -> Void
    ) throws(StorageError) {
        let index = try ObjectIndex(reader: reader, name: name)
        index.forEachRun(in: ByteRange(offset: 0, length: diskSize)) { body($0.range, $0.blockClass, $0.owner) }
    }
}
