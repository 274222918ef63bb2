import CLinux
import Glibc

/// A workload that creates, writes, truncates, links, renames, punches and deletes files, and makes and removes
/// directories, the same for every run of one seed, and that knows afterwards what every file must hold.
public struct Churn {
    /// The directory that it works in; it must be empty at first.
    private let directory: String
    private let operations: Int
    private var generator: SeededGenerator
    /// The names of files, each with the index of its contents.
    private var files: [(path: String, contents: Int)] = []
    private var contents: [ChurnFile] = []
    private var symbolicLinks: [String] = []
    /// The first is the one that it works in.
    private var directories: [String]
    private var nextName = 0
    private let isRehearsal: Bool

    /// A workload of `operations` steps.
    public init(in directory: String, seed: UInt64, operations: Int) {
        self.init(in: directory, seed: seed, operations: operations, isRehearsal: false)
    }

    private init(in directory: String, seed: UInt64, operations: Int, isRehearsal: Bool) {
        self.directory = directory
        self.operations = operations
        self.isRehearsal = isRehearsal
        directories = [directory]
        generator = SeededGenerator(seed: seed)
    }

    /// Does all the steps.
    public mutating func run() throws(TestBedError) {
        for step in 0..<operations {
            try self.step()
            if step % 97 == 96, !isRehearsal { sync() }
        }
    }

    /// Checks the directory of a workload that was run, perhaps by another process, against what it must hold.
    ///
    /// - Returns: the number of files compared.
    public static func verify(in directory: String, seed: UInt64, operations: Int) throws(TestBedError) -> Int {
        var rehearsal = Churn(in: directory, seed: seed, operations: operations, isRehearsal: true)
        try rehearsal.run()
        let listed = try TestBed.run("find", directory, "-type", "f").split(separator: "\n").map(String.init)
        let expected = Set(rehearsal.files.map(\.path))
        guard Set(listed) == expected else {
            let difference = Set(listed).symmetricDifference(expected).sorted().prefix(5)
            throw TestBedError("files that should not be there, or that are missing: \(difference)")
        }
        for (path, index) in rehearsal.files {
            try compare(path, with: rehearsal.contents[index])
        }
        return expected.count
    }

    private mutating func step() throws(TestBedError) {
        switch Int.random(in: 0..<100, using: &generator) {
        case 0..<4: try makeDirectory()
        case 4..<40: try create()
        case 40..<50: try write()
        case 50..<58: try truncate()
        case 58..<68: try rename()
        case 68..<70: try renameDirectory()
        case 70..<72: try removeDirectory()
        case 72..<75: try link()
        case 75..<77: try linkSymbolically()
        case 77..<79: try setAttribute()
        case 79..<82: try reserve()
        case 82..<85: try punch()
        default: try delete()
        }
    }

    // MARK: - Steps

    private mutating func newPath() -> String {
        defer { nextName += 1 }
        let parent = directories.randomElement(using: &generator) ?? directory
        return "\(parent)/file-\(nextName)"
    }

    private mutating func makeDirectory() throws(TestBedError) {
        let path = newPath() + ".d"
        if !isRehearsal {
            guard mkdir(path, 0o755) == 0 else { throw TestBedError.lastSystemError("mkdir \(path)") }
        }
        directories.append(path)
    }

    private mutating func create() throws(TestBedError) {
        let path = newPath()
        let size = Int.random(in: 1...Self.size(&generator), using: &generator)
        contents.append(ChurnFile())
        files.append((path, contents.count - 1))
        try write(to: files.count - 1, range: 0..<size)
    }

    /// Most files are small; a few need two levels of indirect blocks.
    private static func size(_ generator: inout SeededGenerator) -> Int {
        switch Int.random(in: 0..<100, using: &generator) {
        case 0..<70: 40 << 10
        case 70..<95: 300 << 10
        default: 5 << 20
        }
    }

    private mutating func write() throws(TestBedError) {
        guard let index = files.indices.randomElement(using: &generator) else { return }
        let size = contents[files[index].contents].size
        // In the middle, at the end, or beyond it, which leaves a hole.
        let start = Int.random(in: 0...(size + size / 2), using: &generator)
        try write(to: index, range: start..<start + Int.random(in: 1...(64 << 10), using: &generator))
    }

    private mutating func write(to index: Int, range: Range<Int>) throws(TestBedError) {
        let seed = generator.next()
        contents[files[index].contents].write(range, seed: seed)
        guard !isRehearsal else { return }
        let path = files[index].path
        let descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw TestBedError.lastSystemError("open \(path)") }
        defer { close(descriptor) }
        var bytes = ChurnFile.pattern(range, seed: seed)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes {
                pwrite(descriptor, $0.baseAddress, $0.count, range.upperBound - $0.count)
            }
            guard count > 0 else { throw TestBedError.lastSystemError("write \(path)") }
            bytes = bytes.dropFirst(count)
        }
        if Int(truncatingIfNeeded: seed) % 16 == 0, fsync(descriptor) != 0 {
            throw TestBedError.lastSystemError("fsync \(path)")
        }
    }

    private mutating func truncate() throws(TestBedError) {
        guard let index = files.indices.randomElement(using: &generator) else { return }
        let size = contents[files[index].contents].size
        let newSize = Int.random(in: 0...(size + size / 4), using: &generator)
        contents[files[index].contents].truncate(to: newSize)
        if !isRehearsal, Glibc.truncate(files[index].path, newSize) != 0 {
            throw TestBedError.lastSystemError("truncate \(files[index].path)")
        }
    }

    /// To a new name, or over another file.
    private mutating func rename() throws(TestBedError) {
        guard let index = files.indices.randomElement(using: &generator),
            let other = files.indices.randomElement(using: &generator)
        else { return }
        // Of two names of one file rename() would keep both.
        let isOver = Bool.random(using: &generator) && files[other].contents != files[index].contents
        let old = files[index].path
        let new = isOver ? files[other].path : newPath()
        files[index].path = new
        if isOver { files.remove(at: other) }
        if !isRehearsal, Glibc.rename(old, new) != 0 {
            throw TestBedError.lastSystemError("rename \(old) to \(new)")
        }
    }

    /// With all that is in it.
    private mutating func renameDirectory() throws(TestBedError) {
        guard directories.count > 1 else { return }
        let old = directories[Int.random(in: 1..<directories.count, using: &generator)]
        let parents = directories.filter { $0 != old && !$0.hasPrefix(old + "/") }
        guard let parent = parents.randomElement(using: &generator) else { return }
        let new = "\(parent)/moved-\(nextName).d"
        nextName += 1
        func moved(_ path: String) -> String {
            path == old || path.hasPrefix(old + "/") ? new + path.dropFirst(old.count) : path
        }
        directories = directories.map(moved)
        symbolicLinks = symbolicLinks.map(moved)
        for index in files.indices { files[index].path = moved(files[index].path) }
        if !isRehearsal, Glibc.rename(old, new) != 0 {
            throw TestBedError.lastSystemError("rename \(old) to \(new)")
        }
    }

    /// One with nothing in it, if there is one.
    private mutating func removeDirectory() throws(TestBedError) {
        let index = directories.indices.dropFirst().first { index in
            let prefix = directories[index] + "/"
            return !files.contains { $0.path.hasPrefix(prefix) } && !directories.contains { $0.hasPrefix(prefix) }
                && !symbolicLinks.contains { $0.hasPrefix(prefix) }
        }
        guard let index else { return }
        let path = directories.remove(at: index)
        if !isRehearsal, rmdir(path) != 0 { throw TestBedError.lastSystemError("rmdir \(path)") }
    }

    private mutating func link() throws(TestBedError) {
        guard let (path, contents) = files.randomElement(using: &generator) else { return }
        let new = newPath()
        files.append((new, contents))
        if !isRehearsal, Glibc.link(path, new) != 0 { throw TestBedError.lastSystemError("link \(new)") }
    }

    /// Some targets fit the inode, others need a block.
    private mutating func linkSymbolically() throws(TestBedError) {
        let path = newPath()
        let target = String(repeating: "target/", count: Int.random(in: 1...30, using: &generator))
        symbolicLinks.append(path)
        if !isRehearsal, symlink(target, path) != 0 { throw TestBedError.lastSystemError("symlink \(path)") }
    }

    /// Some values fit the inode, others need a block, which inodes with the same value share.
    private mutating func setAttribute() throws(TestBedError) {
        guard let path = files.randomElement(using: &generator)?.path else { return }
        let length = Int.random(in: 1...800, using: &generator)
        let value = [UInt8](repeating: UInt8.random(in: 0..<3, using: &generator), count: length)
        guard !isRehearsal, linux_setxattr(path, "user.churn", value, value.count) != 0 else { return }
        guard errno == EOPNOTSUPP else { throw TestBedError.lastSystemError("setxattr \(path)") }
    }

    /// Room past the end, where the file system knows such a thing.
    private mutating func reserve() throws(TestBedError) {
        guard let index = files.indices.randomElement(using: &generator) else { return }
        let length = Int.random(in: 1...(1 << 20), using: &generator)
        guard !isRehearsal else { return }
        try withDescriptor(of: files[index].path) { (descriptor) throws(TestBedError) in
            let size = contents[files[index].contents].size
            guard linux_reserve(descriptor, size, length) != 0, errno != EOPNOTSUPP, errno != ENOSPC else { return }
            throw TestBedError.lastSystemError("fallocate \(files[index].path)")
        }
    }

    /// A hole, or zeros where the file system does not take holes out.
    private mutating func punch() throws(TestBedError) {
        guard let index = files.indices.randomElement(using: &generator) else { return }
        let (path, file) = files[index]
        let size = contents[file].size
        let start = Int.random(in: 0...size, using: &generator)
        let end = min(size, start + Int.random(in: 1...(256 << 10), using: &generator))
        guard start < end else { return }
        contents[file].clear(start..<end)
        guard !isRehearsal else { return }
        try withDescriptor(of: path) { (descriptor) throws(TestBedError) in
            guard linux_punch_hole(descriptor, start, end - start) != 0 else { return }
            guard errno == EOPNOTSUPP else { throw TestBedError.lastSystemError("fallocate \(path)") }
            let zeros = [UInt8](repeating: 0, count: end - start)
            guard pwrite(descriptor, zeros, zeros.count, start) == zeros.count else {
                throw TestBedError.lastSystemError("write \(path)")
            }
        }
    }

    private func withDescriptor(
        of path: String, _ body: (Int32) throws(TestBedError) -> Void
    ) throws(TestBedError) {
        let descriptor = open(path, O_WRONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw TestBedError.lastSystemError("open \(path)") }
        defer { close(descriptor) }
        try body(descriptor)
    }

    private mutating func delete() throws(TestBedError) {
        if Int.random(in: 0..<10, using: &generator) == 0, let path = symbolicLinks.popLast() {
            guard !isRehearsal, unlink(path) != 0 else { return }
            throw TestBedError.lastSystemError("unlink \(path)")
        }
        guard let index = files.indices.randomElement(using: &generator) else { return }
        let path = files.remove(at: index).path
        if !isRehearsal, unlink(path) != 0 { throw TestBedError.lastSystemError("unlink \(path)") }
    }

    private static func compare(_ path: String, with file: ChurnFile) throws(TestBedError) {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw TestBedError.lastSystemError("open \(path)") }
        defer { close(descriptor) }
        let size = Int(lseek(descriptor, 0, SEEK_END))
        guard size == file.size else { throw TestBedError("\(path): \(size) bytes, not \(file.size)") }
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        var offset = 0
        while offset < size {
            let count = pread(descriptor, &buffer, min(buffer.count, size - offset), offset)
            guard count > 0 else { throw TestBedError.lastSystemError("read \(path) at \(offset)") }
            let expected = file.bytes(in: offset..<offset + count)
            if memcmp(buffer, expected, count) != 0 {
                let difference = zip(buffer, expected).prefix { $0 == $1 }.count
                throw TestBedError("\(path): differs at byte \(offset + difference)")
            }
            offset += count
        }
    }
}
