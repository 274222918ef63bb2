import Glibc

/// Files as they come to lie on a file system in use: written a piece at a time beside others, some deleted, others
/// put where those were.
struct Population {
    private(set) var files = 0
    private(set) var directories = 0
    private let root: String
    private let sizes: FileSizes
    private var generator: SeededGenerator
    private var places: [String] = []
    private var live: [String] = []
    private var nextName = 0

    /// Files a directory, about.
    private static let filesPerDirectory = 20
    /// Files that are written at the same time.
    private static let writers = 6
    /// What a program writes at a time, in bytes.
    private static let piece = 16 << 10

    init(in root: String, sizes: FileSizes, seed: UInt64) {
        self.root = root
        self.sizes = sizes
        generator = SeededGenerator(seed: seed)
    }

    /// Ends with `count` files, after deleting half as many again in between.
    mutating func age(files count: Int) throws(TestBedError) {
        places = [root]
        try create(count)
        for _ in 0..<5 {
            try delete(count / 10)
            try create(count / 10)
        }
        files = live.count
    }

    /// The files' paths, relative to the root.
    var paths: [String] { live.map { String($0.dropFirst(root.count + 1)) } }

    /// Directories come as they are needed, between the files.
    private mutating func makeDirectory() throws(TestBedError) {
        // Most hang near the root, some deep.
        let bound = max(1, min(places.count, 1 + directories / 4))
        let path = "\(places[Int.random(in: 0..<bound, using: &generator)])/directory-\(directories)"
        guard mkdir(path, 0o755) == 0 else { throw TestBedError.lastSystemError("mkdir \(path)") }
        places.append(path)
        directories += 1
    }

    private mutating func create(_ count: Int) throws(TestBedError) {
        var open: [(descriptor: Int32, left: Int)] = []
        defer { open.forEach { close($0.descriptor) } }
        var created = 0
        // Contents do not matter, and zeros take no room under the guest.
        let bytes = [UInt8](repeating: 0, count: Self.piece)
        while created < count || !open.isEmpty {
            while open.count < Self.writers, created < count {
                open.append(try openFile())
                created += 1
            }
            let index = Int.random(in: 0..<open.count, using: &generator)
            let length = min(open[index].left, Self.piece)
            guard write(open[index].descriptor, bytes, length) == length else {
                throw TestBedError.lastSystemError("write a file of the guest's")
            }
            open[index].left -= length
            if open[index].left == 0 {
                close(open.remove(at: index).descriptor)
            }
        }
    }

    private mutating func openFile() throws(TestBedError) -> (descriptor: Int32, left: Int) {
        if places.count * Self.filesPerDirectory <= live.count { try makeDirectory() }
        let place = places.randomElement(using: &generator) ?? root
        let path = "\(place)/file-\(nextName)"
        nextName += 1
        let descriptor = Glibc.open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw TestBedError.lastSystemError("open \(path)") }
        live.append(path)
        return (descriptor, sizes.random(using: &generator))
    }

    private mutating func delete(_ count: Int) throws(TestBedError) {
        for _ in 0..<min(count, live.count) {
            let index = Int.random(in: 0..<live.count, using: &generator)
            live.swapAt(index, live.count - 1)
            let path = live.removeLast()
            guard unlink(path) == 0 else { throw TestBedError.lastSystemError("unlink \(path)") }
        }
    }
}
