import BlockStorage
import Introspection
import Tiering

extension BlockClass {
    /// How the page cache keeps blocks of this class, or nil when it does not.
    ///
    /// The order is that of the seeks a cached block saves: an indirect block or directory stands between the guest
    /// and many others, an inode table is read in order, a bitmap is read once. The journal is written only.
    var pageKind: PageKind? {
        let priority: UInt8
        switch self {
        case .journal: return nil
        case .data, .free, .unknown: priority = 0
        case .pending, .bootFile: priority = 1
        case .imageFormat, .partitionTable, .lvmMetadata, .blockBitmap, .inodeBitmap: priority = 2
        case .superblock, .groupDescriptor, .inodeTable, .extendedAttribute, .symlink: priority = 3
        case .directory, .indirect, .metadata: priority = 4
        }
        return PageKind(priority: CachePriority(rawValue: priority), label: rawValue)
    }
}

/// Decides how the pages of a file are cached: each by the most valuable block in it.
struct PageKinds {
    private enum Source {
        case member(ImageSession.Member)
        case write(ImageSession.Member, UnsafeRawBufferPointer, at: Int)
        case one(BlockClass)
        case pieces(ArraySlice<ClassifiedRange>)
    }

    private let source: Source
    /// On whose account the pages come into the cache.
    let admission: CacheAdmission

    /// By the classes of the blocks, as introspection knows them now.
    static func ofMember(_ member: ImageSession.Member, for admission: CacheAdmission) -> PageKinds {
        PageKinds(source: .member(member), admission: admission)
    }

    /// By the classes of the blocks and, where those say nothing yet, by `bytes`, which are about to be written at
    /// `offset`.
    static func ofWrite(_ bytes: UnsafeRawBufferPointer, at offset: Int, _ member: ImageSession.Member) -> PageKinds {
        PageKinds(source: .write(member, bytes, at: offset), admission: .write)
    }

    /// All as `blockClass`, which the scan that reads them knows.
    static func all(_ blockClass: BlockClass) -> PageKinds {
        PageKinds(source: .one(blockClass), admission: .background)
    }

    /// As the scan that reads `pieces` of a file knows; what lies between them is not cached.
    static func ofPieces(_ pieces: ArraySlice<ClassifiedRange>) -> PageKinds {
        PageKinds(source: .pieces(pieces), admission: .background)
    }

    /// Calls `body` with runs of pages of one kind, in order; nil is for pages that are not to be cached.
    func forEachRun(of pages: ByteRange, _ body: (ByteRange, PageKind?) -> Void) {
        forEachClassRun(of: pages) { body($0, $1.pageKind) }
    }

    /// The runs of pages of one kind that are to be cached, in order.
    func runs(of pages: ByteRange) -> [(ByteRange, PageKind)] {
        var runs: [(ByteRange, PageKind)] = []
        forEachRun(of: pages) { run, kind in
            if let kind { runs.append((run, kind)) }
        }
        return runs
    }

    /// Counts `pages` as misses of their classes, if a client asked for them.
    func countMisses(of pages: ByteRange, image: UInt32, in cache: PageCache) {
        guard admission == .read else { return }
        forEachClassRun(of: pages) { run, blockClass in
            cache.countMisses(run.length / PageCache.pageSize, image: image, label: blockClass.rawValue)
        }
    }

    private func forEachClassRun(of pages: ByteRange, _ body: (ByteRange, BlockClass) -> Void) {
        switch source {
        case .one(let blockClass): body(pages, blockClass)
        case .pieces(let pieces):
            Self.forEachClassRun(of: pages, otherwise: .journal, body) { note in
                for piece in pieces {
                    piece.range.intersection(pages).map { note($0, piece.blockClass) }
                }
            }
        case .member(let member):
            Self.forEachClassRun(of: pages, body) { member.forEachClass(in: pages, $0) }
        case .write(let member, let bytes, let offset):
            Self.forEachClassRun(of: pages, body) { note in
                // The pages at either end may hold more than what is written.
                let end = offset + bytes.count
                if pages.offset < offset {
                    member.forEachClass(in: ByteRange(offset: pages.offset, length: offset - pages.offset), note)
                }
                member.forEachClass(ofWrite: bytes, at: offset, note)
                if end < pages.end {
                    member.forEachClass(in: ByteRange(offset: end, length: pages.end - end), note)
                }
            }
        }
    }

    /// Calls `body` with runs of pages of one class, from the classes that `blocks` tells.
    ///
    /// - Parameter otherwise: the class of pages of which it tells nothing.
    private static func forEachClassRun(
        of pages: ByteRange, otherwise: BlockClass = .unknown, _ body: (ByteRange, BlockClass) -> Void,
        blocks: ((ByteRange, BlockClass) -> Void) -> Void
    ) {
        // The last page is not whole where a file ends at the largest offset there is.
        let count = pages.length / PageCache.pageSize + (pages.length % PageCache.pageSize > 0 ? 1 : 0)
        withUnsafeTemporaryAllocation(of: BlockClass.self, capacity: count) { classes in
            classes.initialize(repeating: otherwise)
            blocks { run, blockClass in
                guard let run = run.intersection(pages) else { return }
                let first = (run.offset - pages.offset) / PageCache.pageSize
                let last = (run.end - 1 - pages.offset) / PageCache.pageSize
                for index in first...last where blockClass.isWorthMore(than: classes[index]) {
                    classes[index] = blockClass
                }
            }
            var start = 0
            while start < count {
                var end = start + 1
                while end < count, classes[end] == classes[start] { end += 1 }
                let first = pages.offset + start * PageCache.pageSize
                let length = min((end - start) * PageCache.pageSize, pages.end - first)
                body(ByteRange(offset: first, length: length), classes[start])
                start = end
            }
        }
    }
}

extension BlockClass {
    /// Whether a page that holds blocks of both classes is kept for this one.
    fileprivate func isWorthMore(than other: BlockClass) -> Bool {
        guard other != .unknown else { return true }
        guard let kind = pageKind else { return false }
        guard let otherKind = other.pageKind else { return true }
        return kind.priority > otherKind.priority
    }
}
