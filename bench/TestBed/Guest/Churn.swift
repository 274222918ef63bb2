import Glibc

/// A workload that creates, writes, truncates, renames and deletes files, the same for every run of one seed, and
/// that knows afterwards what every file must hold.
public struct Churn {
    /// The directory that it works in; it must be empty at first.
    private let directory: String
    private let operations: Int
    private var generator: SeededGenerator
    private var files: [(path: String, file: ChurnFile)] = []
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
        for (path, file) in rehearsal.files {
            try compare(path, with: file)
        }
        return expected.count
    }

    private mutating func step() throws(TestBedError) {
        switch Int.random(in: 0..<100, using: &generator) {
        case 0..<4: try makeDirectory()
        case 4..<44: try create()
        case 44..<56: try write()
        case 56..<66: try truncate()
        case 66..<80: try rename()
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
        files.append((path, ChurnFile()))
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
        let size = files[index].file.size
        // In the middle, at the end, or beyond it, which leaves a hole.
        let start = Int.random(in: 0...(size + size / 2), using: &generator)
        try write(to: index, range: start..<start + Int.random(in: 1...(64 << 10), using: &generator))
    }

    private mutating func write(to index: Int, range: Range<Int>) throws(TestBedError) {
        let seed = generator.next()
        files[index].file.write(range, seed: seed)
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
        let size = files[index].file.size
        let newSize = Int.random(in: 0...(size + size / 4), using: &generator)
        files[index].file.truncate(to: newSize)
        if !isRehearsal, Glibc.truncate(files[index].path, newSize) != 0 {
            throw TestBedError.lastSystemError("truncate \(files[index].path)")
        }
    }

    /// To a new name, or over another file.
    private mutating func rename() throws(TestBedError) {
        guard let index = files.indices.randomElement(using: &generator),
            let other = files.indices.randomElement(using: &generator)
        else { return }
        let isOver = Bool.random(using: &generator) && other != index
        let old = files[index].path
        let new = isOver ? files[other].path : newPath()
        files[index].path = new
        if isOver { files.remove(at: other) }
        if !isRehearsal, Glibc.rename(old, new) != 0 {
            throw TestBedError.lastSystemError("rename \(old) to \(new)")
        }
    }

    private mutating func delete() throws(TestBedError) {
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
