import BlockStorage
import Glibc

/// An append-only log on a fast device that takes writes in an image's stead, until they are destaged.
///
/// ## On the device
/// Two superblocks (``LogSuperblock``), then a ring of 64 segments. A *position* counts the bytes ever laid into the
/// ring, padding included; it never repeats, and modulo the ring's size it says where. Records (``LogRecord``) are
/// written in group commits, one after the other, each starting on a block. A record is valid when the checksums of
/// header and payload match and the header says the position where the record was found and the right epoch: what an
/// earlier lap or a commit that a crash cut off left behind is thus never taken for a record.
///
/// ## What each step guarantees (the invariants are those of `docs/design.md`)
/// - *Write*: the record goes into the open commit. Whoever finds no commit under way writes the open one at a stroke,
///   with one flush, for all who wait. Only then does the index show it, and is it acknowledged (invariant 1). The next
///   commit is written when the last is durable: a record proves that all commits before its own were.
/// - *Which writes*: one that touches a live redirect is always taken, whatever its class and however full the log is
///   (invariant 3); a block has the newest contents where the index says, else in the image (invariant 2). Callers see
///   to it that writes that overlap follow one another.
/// - *Read*: the index is asked before the image is read. What had no redirect then is in the image; what had one is
///   read from its record and verified, and when the record's space has been used again meanwhile, the read starts anew.
/// - *Destage* (``Destager``): the bytes are copied to the image, the image is flushed, then a settlement record goes
///   into the log: "these ranges, as they stood before position H, are in the image". When that is durable the index
///   drops them, except what was written after H. Until then they are live (invariant 3).
/// - *Checkpoint*: the index as records, made durable, then the superblock that points to it. Recovery starts there.
/// - *Superblocks*: two copies on each device, and nothing is done on the strength of one before both copies have it: a
///   damaged copy loses nothing. Each start and each checkpoint has a number of its own, the *generation*: who keeps it
///   elsewhere can tell an older copy of the devices. A copy from after the last checkpoint cannot be told.
/// - *Reuse*: a segment is written again when no extent of the index has its record there and the checkpoint that the
///   durable superblock points to stands behind it (invariant 3). A part of the ring is kept for settlements and
///   checkpoints, so that a log that is full for writers can always be emptied.
/// - *Recovery*: newest superblock, its checkpoint, then record after record, in order, to the first that is not valid.
///   Invalid records behind which a later commit is found were acknowledged and have rotted: recovery says so and
///   stops, rather than serve older bytes. Otherwise a new epoch starts where the valid records end and is made durable
///   in a superblock, so that nothing of the commit that was cut off can ever count.
/// - *Failure*: the first failed write or flush of the device fails the log for good: commits under way are not
///   acknowledged, and what they may have left on the device counts as redirected, so that no newer bytes go to the
///   image that recovery could overwrite. Writes elsewhere are no longer taken, reads go on.
/// - *Evacuation* (``Destager/evacuate(givingUp:isNeeded:record:)``): everything in a failed log is copied to the images,
///   they are flushed, and then it is put on record, outside the log, that this log does not count any more. Only then
///   the index forgets everything (invariant 3), and writes go to the images.
/// - *Mirrors*: a commit is durable when it is so on all sides, and a failure of one fails the log; so each side has all
///   that was acknowledged, and any one of them is enough for reading, evacuation and recovery. Recovery takes each
///   record from whichever side has it, and writes the last commit, which may stand on one side alone, to all of them
///   before anything more is acknowledged (invariants 1 and 2).
///   What one side lacks of what another has is written to it again, record by record, when a start or ``scrub()`` finds it.
/// - *Cleaning* (``Destager/clean()``): what cannot be destaged is moved to the head of the log in time, so that it does
///   not keep the ring from being used again.
/// - *Closing*: a closed log takes nothing but what it must (invariant 3), so that it can be emptied for good.
public final class RedirectLog: @unchecked Sendable {
    /// What becomes of a write.
    enum Admission: Equatable {
        /// The image is to take it.
        case declined
        /// It is in the commit of this number.
        case queued(Int)
        /// A commit must end first.
        case batchFull
        /// Something must be destaged first.
        case logFull
    }

    /// What the lock guards.
    struct State {
        var index: RedirectIndex
        /// What a failed commit may have left on the device.
        var inDoubt: RedirectIndex
        var numbers: [ImageIdentity: UInt32] = [:]
        var identities: [ImageIdentity] = []
        var superblock: LogSuperblock
        /// Where the next commit starts.
        var head = 0
        /// Where the last record before the head ends.
        var lastEnd = 0
        /// Where the commit starts that is under way, else the head: what stands before it has taken effect.
        var durableHead = 0
        /// The first segment that may have a live record.
        var oldestSegment = 0
        var open: LogBatch
        var spare: LogBatch?
        var openNumber = 1
        var durableNumber = 0
        var isCommitting = false
        var failure: StorageError?
        /// Whether the log takes only what it must.
        var isClosed = false
        /// Whether nothing of what the device holds counts any more.
        var isAbandoned = false
        /// The images that could not be destaged when that was tried last, and why.
        var destageFailures: [ImageIdentity: StorageError] = [:]
        /// The writers that may not decline and find the log full.
        var waitingForSpace = 0
        /// See ``takeNotes()``.
        var notes: [String] = []
        /// The positions of damaged records that were spoken of.
        var damaged: Set<Int> = []
        /// How far the scrub has come: the number of an image, and an offset in it.
        var scrubbed: (image: UInt32, offset: Int) = (0, 0)
    }

    /// What tells the log from all others.
    public let identity: UInt128
    let ring: LogRing
    let monitor = Monitor()
    var state: State

    var geometry: LogGeometry { ring.geometry }

    /// Opens the log on `sides`, which all mirror one another, and finds out what it holds.
    ///
    /// Each side has everything that was acknowledged while it took part: a log that one side is missing of has failed
    /// already, to be evacuated, but loses nothing. A log of the first form gets the present one when all sides are here.
    ///
    /// - Parameters:
    ///   - count: the number of sides that the log has.
    ///   - suspects: sides that may lack something: all of it is compared with the others.
    /// - Throws: also when a side holds no log, or another than the first, or when records that were acknowledged are
    ///   lost on all sides.
    public init(
        recovering sides: [any BlockDevice], of count: Int? = nil, suspects: Set<Int> = []
    ) throws(StorageError) {
        let found = try FoundSuperblocks(on: sides)
        let superblock = found.newest
        guard let size = sides.map(\.size).min(),
            let geometry = LogGeometry(
                blockSize: superblock.blockSize, segmentSize: superblock.segmentSize, deviceSize: size)
        else { throw StorageError(.damaged, operation: "find a redirect log", device: sides.first?.name ?? "") }
        let isComplete = sides.count == count ?? sides.count
        let places = superblock.place == nil && isComplete ? LogRing.places(of: sides) : found.places
        ring = LogRing(sides: sides, geometry: geometry, places: places)
        identity = superblock.identity
        let batches = (LogBatch(capacity: geometry.batchSize), LogBatch(capacity: geometry.batchSize))
        state = State(
            index: RedirectIndex(segmentSize: geometry.segmentSize),
            inDoubt: RedirectIndex(segmentSize: geometry.segmentSize),
            superblock: superblock, open: batches.0, spare: batches.1)
        state.notes = found.notes
        try recover(stale: found.staleSides.union(suspects), isEverywhere: found.isEverywhere)
    }

    /// Opens the log on one device.
    public convenience init(recovering device: any BlockDevice) throws(StorageError) {
        try self.init(recovering: [device])
    }

    /// Makes an empty log on `sides`, which will mirror one another; what they held is lost.
    ///
    /// - Parameters:
    ///   - identity: tells this log from all others.
    ///   - blockSize: what the devices write without reading first, in bytes: a power of two from 512 to 4096.
    public static func format(
        _ sides: [any BlockDevice], identity: UInt128, blockSize: Int = 4096
    ) throws(StorageError) {
        guard let size = sides.map(\.size).min(), let geometry = LogGeometry(deviceSize: size, blockSize: blockSize)
        else { throw StorageError(.outOfRange, operation: "make a redirect log", device: sides.first?.name ?? "") }
        let ring = LogRing(sides: sides, geometry: geometry, places: LogRing.places(of: sides))
        var superblock = LogSuperblock(identity: identity, geometry: geometry)
        // Of a log that was here before nothing may count: both copies are written over, and the epochs differ.
        superblock.generation = LogSuperblock.firstGeneration(of: identity)
        superblock.epoch = superblock.generation
        try ring.write(superblock)
    }

    /// Makes an empty log on one device.
    public static func format(
        _ device: any BlockDevice, identity: UInt128, blockSize: Int = 4096
    ) throws(StorageError) {
        try format([device], identity: identity, blockSize: blockSize)
    }

    /// What one device says of the log that it belongs to; nil when there is none.
    public static func label(of device: any BlockDevice) throws(StorageError) -> LogLabel? {
        try SuperblockCopies(of: device).newest.map {
            LogLabel(identity: $0.identity, generation: $0.generation, place: $0.place, superblock: $0)
        }
    }

    /// Grows with each start and each checkpoint: a device that has a lower one is an older copy.
    public var generation: UInt64 { monitor.withLock { state.superblock.generation } }

    /// The generation that this start gave it: the next after that of the newest device.
    public var epoch: UInt64 { monitor.withLock { state.superblock.epoch } }

    /// What was found that an administrator should know of, since this was asked last.
    public func takeNotes() -> [String] {
        monitor.withLock {
            defer { state.notes = [] }
            return state.notes
        }
    }

    /// The most bytes that one write may have.
    public var largestWrite: Int { geometry.largestPayload - 2 * LogRecord.headerSize }

    /// The first failure of the device, after which the log takes no more writes; nil while all is well.
    public var failure: StorageError? { monitor.withLock { state.failure } }

    /// The bytes ever written to the ring: they grow with every write.
    public var position: Int { monitor.withLock { state.head } }

    /// The bytes that have their newest contents in the log.
    public var liveByteCount: Int { monitor.withLock { state.index.byteCount } }

    /// The part of the ring that is in use, from 0 to 1.
    public var fullness: Double {
        monitor.withLock { Double(state.head - state.reusableFrom(geometry)) / Double(geometry.ringSize) }
    }

    /// The images that have live redirects.
    public var images: [ImageIdentity] { Array(liveByteCounts.keys) }

    /// The bytes of each image that have their newest contents in the log.
    public var liveByteCounts: [ImageIdentity: Int] {
        monitor.withLock {
            let counts = state.index.byteCounts.map { (state.identities[Int($0.key)], $0.value) }
            return Dictionary(uniqueKeysWithValues: counts)
        }
    }

    /// The bytes that the ring has.
    public var size: Int { geometry.ringSize }

    /// Takes from now on only what it must.
    public func close() {
        monitor.withLock { state.isClosed = true }
    }

    /// Takes again what it should.
    public func reopen() {
        monitor.withLock { state.isClosed = false }
    }

    /// Whether nothing is in the log, or on its way there; it stays so when the log is closed.
    public var isEmpty: Bool {
        monitor.withLock {
            state.index.count == 0 && state.open.isEmpty && !state.isCommitting
        }
    }

    /// Counts as failed from now on, because of `failure`, if it has not failed by itself. For good: nothing undoes it.
    ///
    /// Returns when the commit has ended that was under way: from then on nothing is acknowledged, and the index, which
    /// is what evacuation goes by, has everything that ever was (invariant 1).
    public func fail(_ failure: StorageError) {
        beginToFail(failure)
        waitForCommit()
    }

    /// The first half of ``fail(_:)``: no commit is begun any more.
    func beginToFail(_ failure: StorageError) {
        monitor.withLock {
            state.failure = state.failure ?? failure
            monitor.broadcast()
        }
    }

    /// The images of which the log has nothing but what a failed commit may have left.
    var imagesInDoubtAlone: [ImageIdentity] {
        monitor.withLock {
            let numbers = state.inDoubt.byteCounts.keys.filter { state.index.byteCounts[$0, default: 0] == 0 }
            return numbers.map { state.identities[Int($0)] }
        }
    }

    /// Waits for the commit under way; of a log that has failed, there is none after that.
    func waitForCommit() {
        monitor.withLock { while state.isCommitting { monitor.wait() } }
    }

    /// Forgets the redirects of an image that is gone, in RAM alone.
    public func forget(_ image: ImageIdentity) {
        monitor.withLock {
            guard let number = state.numbers[image] else { return }
            let everything = ByteRange(offset: 0, length: RedirectIndex.largestOffset)
            state.index.remove(image: number, everything)
            state.inDoubt.remove(image: number, everything)
        }
    }

    /// Whether nothing of what the device holds counts any more: it was evacuated.
    public var isAbandoned: Bool { monitor.withLock { state.isAbandoned } }

    /// Forgets everything: what the device holds does not count any more, durably.
    func abandon() {
        monitor.withLock {
            state.isAbandoned = true
            state.index = RedirectIndex(segmentSize: geometry.segmentSize)
            state.inDoubt = RedirectIndex(segmentSize: geometry.segmentSize)
            monitor.broadcast()
        }
    }

    /// Whether a write of `range` must go to the log because a redirect of a part of it is, or may be, live.
    public func hasRedirect(_ range: ByteRange, of image: ImageIdentity) -> Bool {
        monitor.withLock { state.hasRedirect(range, of: image) }
    }

    /// How long an image must be for all that the log has of it, in bytes; takes a while where that is much.
    public func end(of image: ImageIdentity) -> Int {
        let (index, number) = monitor.withLock { (state.index, state.numbers[image]) }
        return number.map(index.end(image:)) ?? 0
    }

    // MARK: Writing

    /// Takes a write and makes it durable, or declines: then nothing has happened, and the image is to take it.
    ///
    /// Blocks for the group commit, and for the destager when the log is full and may not decline.
    ///
    /// - Parameters:
    ///   - isWanted: whether the log should take the write when it is free to decline.
    ///   - priority: the class of the bytes as the caller counts it; kept in the record.
    ///   - whileWaiting: runs what waits for the destager, which may want something that the caller holds.
    public func write(
        _ bytes: UnsafeRawBufferPointer, to image: ImageIdentity, at offset: Int, priority: UInt8, isWanted: Bool,
        whileWaiting: (_ wait: () throws(StorageError) -> Void) throws(StorageError) -> Void = RedirectLog.wait
    ) throws(StorageError) -> Bool {
        var record = LogRecord(.write, image: image)
        record.priority = priority
        record.offset = offset
        record.length = bytes.count
        // Most writes are data, and need no checksum.
        guard isWanted || hasRedirect(record.range, of: image) else { return false }
        record.payloadChecksum = CRC32C.checksum(bytes)
        while true {
            switch try admit(record, bytes, isWanted: isWanted) {
            case .declined: return false
            case .queued(let batch):
                try commit(through: batch)
                return true
            case .batchFull: try commitOpen()
            case .logFull: try whileWaiting { () throws(StorageError) in try waitForSpace(image) }
            }
        }
    }

    /// Waits and holds nothing that the destager may want.
    public static func wait(_ wait: () throws(StorageError) -> Void) throws(StorageError) { try wait() }

    /// Puts a write into the open commit, if it is to be taken and there is room.
    func admit(
        _ record: LogRecord, _ bytes: UnsafeRawBufferPointer, isWanted: Bool
    ) throws(StorageError) -> Admission {
        guard let image = record.image else { return .declined }
        return try monitor.withLock { () throws(StorageError) in
            let isRedirected = state.hasRedirect(record.range, of: image)
            guard
                isRedirected
                    || (isWanted && state.failure == nil && !state.isClosed && bytes.count <= largestWrite)
            else {
                return .declined
            }
            if let failure = state.failure { throw failure }
            guard bytes.count <= largestWrite else {
                throw StorageError(.outOfRange, operation: "redirect", device: ring.name, range: record.range)
            }
            guard state.open.hasRoom(for: record.size) else { return .batchFull }
            guard state.hasSpace(for: record.size, isWrite: true, geometry) else {
                return isRedirected ? .logFull : .declined
            }
            state.open.append(record, payload: bytes)
            return .queued(state.openNumber)
        }
    }

    /// Records that the destaging of `ranges` is done: their redirects from before `horizon` are in the image, synced.
    ///
    /// Without a horizon all that stands before the record itself: of an image that is gone nothing may come back, also
    /// not what is being moved to the head meanwhile.
    ///
    /// - Throws: when the record could not be made durable; the redirects are live then.
    func settle(_ ranges: [ByteRange], of image: ImageIdentity, before horizon: Int? = nil) throws(StorageError) {
        guard !ranges.isEmpty else { return }
        let payload = ranges.flatMap { [UInt64($0.offset).littleEndian, UInt64($0.length).littleEndian] }
        var record = LogRecord(.settlement, image: image)
        record.length = payload.count * 8
        record.horizon = horizon ?? LogRecord.ownPosition
        record.payloadChecksum = payload.withUnsafeBytes { CRC32C.checksum($0) }
        while true {
            let batch: Int? = try monitor.withLock { () throws(StorageError) in
                if let failure = state.failure { throw failure }
                guard state.open.hasRoom(for: record.size) else { return nil }
                guard state.hasSpace(for: record.size, isWrite: false, geometry) else {
                    throw StorageError(.system(ENOSPC), operation: "settle", device: ring.name)
                }
                payload.withUnsafeBytes { state.open.append(record, payload: $0, settled: ranges) }
                return state.openNumber
            }
            if let batch { return try commit(through: batch) }
            try commitOpen()
        }
    }

    /// Waits until the destager has made room, or has moved all that it could; throws where it could not move `image`.
    private func waitForSpace(_ image: ImageIdentity) throws(StorageError) {
        try monitor.withLock { () throws(StorageError) in
            if let failure = state.failure ?? state.destageFailures[image] { throw failure }
            state.waitingForSpace += 1
            monitor.wait()
            state.waitingForSpace -= 1
        }
    }
}
