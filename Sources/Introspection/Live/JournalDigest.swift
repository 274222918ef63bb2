import BlockStorage
import GuestFilesystems

/// Follows the journal of one file system as far as it is written: reads what could not be taken from the writes
/// themselves, and hands committed transactions to the map.
struct JournalDigest {
    /// Bytes that are read in catching up with a log.
    private static let catchUpBytes = 64 << 20
    /// Copies that are noted while the map is held.
    private static let copiesAtOnce = 256
    /// Commits that are taken over: a guest may go on with one after the other.
    private static let commitLimit = 4096
    /// Turns that are taken for copies and tags that do not count any more.
    private static let sweepLimit = 1024

    let log: JournalLog
    let blockSize: Int
    let volume: VolumeReader
    let access: ExtDigest.Access

    /// Does what there is to do. A log that cannot be read is not followed.
    func run() {
        var needsCatchUp = false
        var unread: [UInt32] = []
        access { fileSystem in
            guard let follower = fileSystem.journal?.follower else { return }
            needsCatchUp = follower.needsCatchUp
            unread = follower.unread.sorted()
        }
        sweep()
        if needsCatchUp { catchUp() }
        for index in unread {
            withBlock(index) { bytes, fileSystem in
                var room = 0
                fileSystem.noteJournal(index, bytes, &room)
            }
        }
        expectMetadata()
        applyCommits()
        sweep()
    }

    /// Does what is to be done for copies and tags that do not count any more.
    private func sweep() {
        // A guest that moves the tail again and again has it begin anew each time.
        for _ in 0..<Self.sweepLimit {
            var isOver = true
            access { isOver = $0.sweepJournal() }
            if isOver { return }
        }
    }

    /// Looks at tags that there was no room for when they were written.
    private func expectMetadata() {
        var tags: [JournalTag] = []
        var isOver = false
        while !isOver {
            isOver = true
            access { fileSystem in
                guard let index = fileSystem.journal?.unexpected.popLast() else { return }
                tags = fileSystem.journal?.follower.tags(at: index) ?? []
                isOver = false
            }
            var rest = tags[...]
            while !rest.isEmpty {
                access { $0.expectMetadata(at: rest.prefix(Self.copiesAtOnce)) }
                rest = rest.dropFirst(Self.copiesAtOnce)
            }
            tags = []
        }
    }

    private func catchUp() {
        var cursor: JournalFollower.Cursor?
        withBlock(0) { bytes, fileSystem in
            cursor = fileSystem.journal?.follower.startCatchUp(bytes.bytes)
        }
        var budget = Self.catchUpBytes / blockSize
        while let place = cursor, budget > 0 {
            cursor = nil
            budget -= 1
            withBlock(place.index) { bytes, fileSystem in
                cursor = fileSystem.journal?.follower.catchUp(place, bytes.bytes)
            }
        }
    }

    private func applyCommits() {
        for _ in 0..<Self.commitLimit {
            var next: JournalFollower.Commit?
            access { fileSystem in
                next = fileSystem.journal?.follower.nextCommit()
                if next == nil, fileSystem.journal?.follower.position == .lost { fileSystem.dropCopies(before: nil) }
            }
            guard let commit = next else { return }
            var copies = commit.copies[...]
            while !copies.isEmpty {
                access { $0.apply(copies.prefix(Self.copiesAtOnce), sequence: commit.sequence) }
                copies = copies.dropFirst(Self.copiesAtOnce)
            }
            var revoked = commit.revoked[...]
            while !revoked.isEmpty {
                access { $0.revoke(revoked.prefix(Self.copiesAtOnce), sequence: commit.sequence) }
                revoked = revoked.dropFirst(Self.copiesAtOnce)
            }
            access { fileSystem in
                if let seen = fileSystem.lastCommitSeen { fileSystem.journal?.committed.begin(commit: seen) }
            }
        }
    }

    /// Reads block `index` of the journal and has `body` look at it.
    private func withBlock(_ index: UInt32, _ body: (UnsafeRawBufferPointer, LiveFileSystem) -> Void) {
        guard let block = log.block(at: index) else { return }
        let buffer = AlignedBuffer(count: blockSize)
        withExtendedLifetime(buffer) {
            let range = ByteRange(offset: Int(block) * blockSize, length: blockSize)
            guard (try? volume.read(range, as: .journal, into: buffer.bytes)) != nil else { return }
            access { body(UnsafeRawBufferPointer(buffer.bytes), $0) }
        }
    }
}
