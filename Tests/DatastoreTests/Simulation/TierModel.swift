import BlockStorage

@testable import Datastore

/// What clients may read of the files of a schedule: each write has a stamp, which fills its blocks.
struct TierModel {
    struct Block {
        /// The stamp of the last acknowledged write.
        var latest: UInt64 = 0
        /// The stamps of writes since that were not acknowledged: under way, or failed. Any one may show, now or later.
        var unanswered: Set<UInt64> = []
        /// All stamps that were ever acknowledged.
        var history: Set<UInt64> = [0]

        func allows(_ stamp: UInt64) -> Bool { stamp == latest || unanswered.contains(stamp) }
    }

    enum Existence { case present, beingRemoved, removed }

    struct File {
        let handle: HandleAlias
        let inode: UInt64
        var name: String
        var existence = Existence.present
        var blocks: [Block]
        /// A block that another program has written, and what was in it before, until it is known what becomes of that.
        var foreign: (block: Int, before: Block)?
        /// Whether the image was found to be refused for that.
        var isQuarantined = false
    }

    var files: [File] = []
    private(set) var lastStamp: UInt64 = 0

    mutating func newStamp() -> UInt64 {
        lastStamp += 1
        return lastStamp
    }

    mutating func begin(_ stamp: UInt64, _ file: Int, _ blocks: Range<Int>) {
        for block in blocks { files[file].blocks[block].unanswered.insert(stamp) }
    }

    mutating func acknowledge(_ stamp: UInt64, _ file: Int, _ blocks: Range<Int>) {
        for block in blocks { set(stamp, file, block) }
    }

    /// What counts from now on, whatever was written before.
    mutating func set(_ stamp: UInt64, _ file: Int, _ block: Int) {
        files[file].blocks[block].latest = stamp
        files[file].blocks[block].unanswered = []
        files[file].blocks[block].history.insert(stamp)
    }

    /// The files that have names, as far as is known.
    var present: [Int] { files.indices.filter { files[$0].existence == .present } }
}
