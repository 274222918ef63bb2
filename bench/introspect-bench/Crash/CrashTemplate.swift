import TestBed

/// An image with a guest's file system, and where clients may write in it so that it stays one.
struct CrashTemplate {
    /// The image.
    let path: String
    /// Bytes of the guest's file system; the file may end anywhere after.
    let fileSystemSize = 24 << 20
    /// Bytes that the file has beyond it, and by which it may grow.
    let room = 1 << 20
    /// Blocks of files, of the journal and free ones, in runs of at most ``CrashWriter/mostBlocks``.
    let runs: [Range<Int>]

    /// Makes it.
    init(in temporary: TemporaryDirectory) throws {
        path = temporary.file("template.img")
        let tree = try temporary.makeDirectory("tree")
        let script = "for number in $(seq 8); do head -c 1M /dev/urandom > \"$1/file-$number\"; done"
        try run("sh", "-c", script, "sh", tree)
        let blockSize = "\(StampedBlocks.size)"
        try run(
            "mke2fs", "-q", "-F", "-t", "ext4", "-b", blockSize, "-J", "size=4", "-d", tree, path,
            "\(fileSystemSize >> 10)K")
        try run("truncate", "--size", "\(fileSystemSize + room / 2)", path)
        runs = try Self.runs(of: path, below: fileSystemSize)
    }

    private static func runs(of image: String, below end: Int) throws -> [Range<Int>] {
        var blocks: [Int] = []
        let lines = try run(try Executable.path(of: "introspect-scan"), "runs", image).split(separator: "\n")
        for line in lines {
            let fields = line.split(separator: " ")
            guard fields.count == 4, let offset = Int(fields[0]), let length = Int(fields[1]) else {
                throw TestBedError("introspect-scan runs \(image): \(line)")
            }
            guard ["data", "free", "journal"].contains(fields[2]), offset < end else { continue }
            // Without the journal's superblock.
            let first = offset / StampedBlocks.size + (fields[2] == "journal" ? 1 : 0)
            blocks += first..<max(first, (offset + length) / StampedBlocks.size)
        }
        var runs: [Range<Int>] = []
        for block in blocks.sorted() {
            if let last = runs.last, last.upperBound == block, last.count < CrashWriter.mostBlocks {
                runs[runs.count - 1] = last.lowerBound..<block + 1
            } else {
                runs.append(block..<block + 1)
            }
        }
        guard runs.count > 100 else { throw TestBedError("\(image): \(runs.count) runs of blocks to write to") }
        return runs
    }
}
