import BlockStorage
import GuestFilesystems

/// A name in a guest's directory.
public struct GuestDirectoryEntry: Hashable, Sendable {
    /// The name, as it is stored.
    public let name: ByteString
    /// The inode that it names.
    public let inode: UInt32
    /// Whether what is stored is the name in encrypted form.
    public let isEncrypted: Bool
}

extension GuestFileSystem {
    /// Symbolic links that are followed on the way to a file; the limit of Linux.
    private static let linkLimit = 40

    /// The file at `path`, from the root of the file system; symbolic links are followed, the last one too.
    ///
    /// A directory that ignores case is looked up as ``ExtCaseFolding`` says; an encrypted one by what it stores.
    public func file(at path: ByteString) throws(GuestFileError) -> GuestFile {
        var names = Self.names(of: path)
        var directory = try file(inode: ExtInode.Number.root)
        var linksLeft = Self.linkLimit
        while let name = names.popLast() {
            guard directory.kind == .directory else { throw error("\(path): \(name) is not in a directory") }
            guard let inode = try self.inode(named: name, in: directory) else {
                throw error("\(path): there is no \(name)")
            }
            let next = try file(inode: inode)
            if next.kind == .symbolicLink {
                guard linksLeft > 0 else { throw error("\(path): more than \(Self.linkLimit) symbolic links") }
                linksLeft -= 1
                let target = try self.target(of: next)
                names += Self.names(of: target)
                if target.bytes.first == UInt8(ascii: "/") { directory = try file(inode: ExtInode.Number.root) }
            } else {
                directory = next
            }
        }
        return directory
    }

    /// The names of a path, the last one first.
    private static func names(of path: ByteString) -> [ByteString] {
        path.bytes.split(separator: UInt8(ascii: "/")).map { ByteString($0) }.filter { $0 != "." }.reversed()
    }

    /// The target of a symbolic link.
    public func target(of link: GuestFile) throws(GuestFileError) -> ByteString {
        guard link.kind == .symbolicLink, link.size < UInt64(geometry.blockSize) else {
            throw error("inode \(link.number) is no symbolic link")
        }
        guard !link.isEncrypted else {
            throw error("inode \(link.number): the target is encrypted, and the key not here")
        }
        let length = Int(link.size)
        if link.inode.isFastSymbolicLink(in: geometry.superblock) {
            let map = link.inode.map
            return ByteString((0..<min(length, ExtInode.mapSize)).map { map[$0] })
        }
        if link.inode.flags.contains(.inlineData) {
            return ByteString(try inlineContents(of: link))
        }
        guard let run = try blockRuns(of: link).first else { throw error("inode \(link.number) has no target") }
        return ByteString(try bytes(ofBlock: run.block, as: .symlink).prefix(length))
    }

    /// The names in `directory`, in its own order; `.` and `..` are among them where the directory stores them.
    public func entries(of directory: GuestFile) throws(GuestFileError) -> [GuestDirectoryEntry] {
        var entries: [GuestDirectoryEntry] = []
        try forEachEntry(of: directory) { bytes, entry in
            let name = entry.name(in: bytes)
            entries.append(
                GuestDirectoryEntry(
                    name: name, inode: entry.inode,
                    isEncrypted: directory.isEncrypted && name != "." && name != ".."))
            return true
        }
        return entries
    }

    private func inode(named name: ByteString, in directory: GuestFile) throws(GuestFileError) -> UInt32? {
        if name == "..", directory.inode.flags.contains(.inlineData) {
            // Instead of `.` and `..` the first four bytes name the parent.
            return directory.inode.pointer(0)
        }
        let folding = try caseFolding(of: name, in: directory)
        var (found, sameButForCase): (UInt32?, UInt32?) = (nil, nil)
        try forEachEntry(of: directory) { bytes, entry in
            if entry.nameRange.count == name.bytes.count, entry.nameBytes(in: bytes) == name.bytes {
                found = entry.inode
            } else if sameButForCase == nil, folding?.isSame(entry.nameBytes(in: bytes)) == true {
                sameButForCase = entry.inode
            }
            return found == nil
        }
        return found ?? sameButForCase
    }

    /// How `directory` compares names with `name`; nil where they are the same bytes or not the same.
    private func caseFolding(
        of name: ByteString, in directory: GuestFile
    ) throws(GuestFileError) -> ExtCaseFolding? {
        guard directory.inode.flags.contains(.caseFolded), !directory.isEncrypted,
            let encoding = geometry.superblock.nameEncoding
        else { return nil }
        guard encoding == ExtCaseFolding.utf8 else {
            throw error(
                "inode \(directory.number): a directory that ignores the case of names in encoding \(encoding), expected "
                    + "1 (UTF-8 as of Unicode 12.1)")
        }
        return ExtCaseFolding(name.bytes)
    }

    /// The most directories of a path.
    private static let depthLimit = 1024

    /// A path of `inode`, from `/`, by the directories that `index` knows; nil when none leads to it.
    func path(of inode: UInt32, _ index: LiveObjects) -> ByteString? {
        var names: [ByteString] = []
        var next = inode
        while next != ExtInode.Number.root {
            guard names.count < Self.depthLimit, let parent = index.parent(of: next),
                let directory = try? file(inode: parent), let name = try? self.name(of: next, in: directory)
            else { return nil }
            names.append(name)
            next = parent
        }
        return ByteString(path: names.reversed())
    }

    /// A name that `directory` has for `inode`; nil when it has none.
    private func name(of inode: UInt32, in directory: GuestFile) throws(GuestFileError) -> ByteString? {
        var found: ByteString?
        try forEachEntry(of: directory) { bytes, entry in
            guard entry.inode == inode else { return true }
            let name = entry.name(in: bytes)
            if name != ".", name != ".." { found = name }
            return found == nil
        }
        return found
    }

    /// Calls `body` with each entry and the bytes that it is in, until it returns false.
    func forEachEntry(
        of directory: GuestFile, _ body: (RawSpan, ExtDirectoryEntry) -> Bool
    ) throws(GuestFileError) {
        guard directory.kind == .directory else { throw error("inode \(directory.number) is no directory") }
        if directory.inode.flags.contains(.inlineData) {
            guard let data = ExtInlineData(ofInode: directory.bytes.span.bytes) else {
                throw error("inode \(directory.number): its inline contents make no sense")
            }
            for part in [Array(data.head.dropFirst(4)), data.rest] {
                guard try collect(part, directory, body) else { return }
            }
            return
        }
        for run in try blockRuns(of: directory) {
            for block in run.block..<run.block + UInt64(run.count) {
                guard try collect(try bytes(ofBlock: block, as: .directory), directory, body) else { return }
            }
        }
    }

    /// Whether to go on after `bytes`.
    private func collect(
        _ bytes: [UInt8], _ directory: GuestFile, _ body: (RawSpan, ExtDirectoryEntry) -> Bool
    ) throws(GuestFileError) -> Bool {
        var goesOn = true
        do throws(ExtFormatError) {
            try ExtDirectoryBlock.forEachEntry(
                in: bytes.span.bytes, hasFileTypes: geometry.superblock.hasFileTypes
            ) { entry in
                goesOn = body(bytes.span.bytes, entry)
                return goesOn
            }
        } catch {
            throw self.error("directory with inode \(directory.number): \(error)")
        }
        return goesOn
    }
}
