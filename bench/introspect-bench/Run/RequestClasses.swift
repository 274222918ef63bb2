import Glibc
import TestBed

/// Tells what a request at the disk was for: from where the images lie on the disk, and what introspection takes each
/// of their blocks for.
struct RequestClasses {
    /// A stretch of something, sorted by where it begins.
    struct Stretch<Value> {
        let range: Range<Int>
        let value: Value
    }

    /// What lies outside of every image: the file system of the datastore itself.
    static let datastore = "datastore"
    static let neighbour = "neighbour"
    static let free = "free"

    private var files: [Stretch<(file: Int, offset: Int)>] = []
    private var names: [String] = []
    private var classes: [[Stretch<String>]] = []

    /// Notes a file's place on the disk. `runs` is what `introspect-scan runs` says of it; nil for the neighbour's.
    mutating func add(file: String, runs: [Stretch<String>]?) throws(TestBedError) {
        let number = names.count
        names.append(file)
        classes.append(runs ?? [])
        for line in try run("filefrag", "-e", "-v", file).split(separator: "\n") {
            // " 12:  6144..  12287:  34816..  40959:  6144: flags", in blocks of 4 KiB
            let fields = line.split { " :.".contains($0) }
            let numbers = fields.prefix(6).compactMap { Int($0) }
            guard numbers.count == 6, line.contains("..") else { continue }
            let start = numbers[3] * 4096
            files.append(
                Stretch(range: start..<start + numbers[5] * 4096, value: (number, numbers[1] * 4096)))
        }
        files.sort { $0.range.lowerBound < $1.range.lowerBound }
    }

    /// The class of the first byte of a request.
    func name(of request: DiskRequest) -> String {
        guard let place = Self.find(request.offset, in: files) else { return Self.datastore }
        let (file, offset) = place.value
        guard !classes[file].isEmpty else { return Self.neighbour }
        let within = offset + request.offset - place.range.lowerBound
        return Self.find(within, in: classes[file])?.value ?? Self.free
    }

    /// Requests by class. What was free before the run has the class that it got in it, `later`.
    func count(_ requests: [DiskRequest], later: RequestClasses?) -> [String: RunRecord.Requests] {
        var counts: [String: RunRecord.Requests] = [:]
        for request in requests where request.kind != .flush {
            var name = name(of: request)
            if name == Self.free, let later { name = later.name(of: request) }
            counts[name, default: .init()].reads += request.kind == .read ? 1 : 0
            counts[name, default: .init()].writes += request.kind == .write ? 1 : 0
            counts[name, default: .init()].bytes += request.length
        }
        return counts
    }

    /// What introspection takes each block of an image for.
    static func runs(of image: String) throws(TestBedError) -> [Stretch<String>] {
        let tool = try Executable.path(of: "introspect-scan")
        return try Command([tool, "runs", image], timeLimit: 600).run().split(separator: "\n").compactMap { line in
            let words = line.split(separator: " ", maxSplits: 3)
            guard words.count >= 3, let offset = Int(words[0]), let length = Int(words[1]) else { return nil }
            return Stretch(range: offset..<offset + length, value: String(words[2]))
        }
    }

    private static func find<Value>(_ offset: Int, in stretches: [Stretch<Value>]) -> Stretch<Value>? {
        var low = 0
        var high = stretches.count
        while low < high {
            let middle = (low + high) / 2
            if stretches[middle].range.upperBound <= offset { low = middle + 1 } else { high = middle }
        }
        return low < stretches.count && stretches[low].range.contains(offset) ? stretches[low] : nil
    }
}
