/// Whom the contents of plain files belong to, and in which directories each inode has names: what the class map leaves
/// out, for one file system.
///
/// Takes 28 bytes for an extent and 16 for a name. Names themselves, and the place of an extent in its file, are read
/// when they are asked for. ``ObjectUpdate`` keeps it current.
struct LiveObjects: Sendable {
    /// Consecutive blocks of one file, in 16 bytes.
    struct Extent: Keyed {
        var block: UInt64
        var count: UInt32
        var owner: UInt32

        var key: UInt64 { block }
        var end: UInt64 { block + UInt64(count) }
    }

    /// Two inodes, in the order in which they are looked up.
    struct Link: Keyed {
        var key: UInt64

        init(_ from: UInt32, _ to: UInt32) { key = UInt64(from) << 32 | UInt64(to) }

        var from: UInt32 { UInt32(truncatingIfNeeded: key >> 32) }
        var to: UInt32 { UInt32(truncatingIfNeeded: key) }
    }

    private(set) var extents = SortedChunks<Extent>()
    private(set) var owners = SortedChunks<FileSystemMap.OwnerEntry>()
    /// From an inode to the directories that name it, and back.
    private(set) var parents = SortedChunks<Link>()
    private(set) var children = SortedChunks<Link>()

    var memoryBytes: Int { extents.memoryBytes + owners.memoryBytes + parents.memoryBytes + children.memoryBytes }

    /// Bytes of what is kept, without the allocations' slack; quicker to tell.
    var entryBytes: Int { extents.count * 28 + parents.count * 16 }

    /// Takes what `other` has too from there: it takes memory once until either changes it.
    mutating func share(with other: Self) {
        extents.share(with: other.extents)
        owners.share(with: other.owners)
        parents.share(with: other.parents)
        children.share(with: other.children)
    }

    /// The inode whose contents `block` is.
    func owner(of block: UInt64) -> UInt32? {
        guard let position = extents.lastPosition(notAfter: block), extents[position].end > block else { return nil }
        return extents[position].owner
    }

    /// A directory that names `inode`; of several, the one with the lowest number.
    func parent(of inode: UInt32) -> UInt32? {
        guard let position = parents.firstPosition(after: Link(inode, 0).key), parents[position].from == inode else {
            return nil
        }
        return parents[position].to
    }

    /// Calls `body` with the extents, in the order of the disk.
    func forEachExtent(_ body: (_ block: UInt64, _ count: UInt32, _ owner: UInt32) -> Void) {
        extents.forEach { body($0.block, $0.count, $0.owner) }
    }

    /// Calls `body` with each directory and the inodes that it names, in the order of their numbers.
    func forEachDirectory(_ body: (_ directory: UInt32, _ inodes: Set<UInt32>) -> Void) {
        var directory: UInt32 = 0
        var inodes: Set<UInt32> = []
        children.forEach { link in
            if link.from != directory, !inodes.isEmpty {
                body(directory, inodes)
                inodes = []
            }
            directory = link.from
            inodes.insert(link.to)
        }
        if !inodes.isEmpty { body(directory, inodes) }
    }

    /// Whether `inode` is a directory that names any.
    func hasNames(_ inode: UInt32) -> Bool {
        guard let position = children.firstPosition(after: Link(inode, 0).key) else { return false }
        return children[position].from == inode
    }

    /// Makes `runs` the contents of `inode`, and `names` the inodes that it names; drops what was known of it before.
    mutating func set(_ inode: UInt32, contents runs: [ExtBlockRun], names: Set<UInt32>) {
        setContents(of: inode, runs)
        var old: Set<UInt32> = []
        var next = children.firstPosition(after: Link(inode, 0).key)
        while let position = next, children[position].from == inode {
            old.insert(children[position].to)
            next = children.position(after: position)
        }
        for child in old.subtracting(names) {
            children.remove(Link(inode, child).key)
            parents.remove(Link(child, inode).key)
        }
        // In order, so that the same names make the same chunks, which clones share.
        for child in names.subtracting(old).sorted() {
            children.insert(Link(inode, child))
            parents.insert(Link(child, inode))
        }
    }

    private mutating func setContents(of inode: UInt32, _ runs: [ExtBlockRun]) {
        while let position = owners.firstPosition(after: .init(owner: inode, block: 0)),
            owners[position].key.owner == inode
        {
            let key = owners[position].key
            owners.remove(key)
            // Another file may have taken the place over.
            if let found = extents.lastPosition(notAfter: key.block), extents[found].block == key.block,
                extents[found].owner == inode
            {
                extents.remove(key.block)
            }
        }
        for run in runs {
            extents.insert(Extent(block: run.block, count: run.count, owner: inode))
            owners.insert(.init(owner: inode, block: run.block))
        }
    }
}
