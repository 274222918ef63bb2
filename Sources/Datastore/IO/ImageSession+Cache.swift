import BlockStorage
import Introspection
import Tiering

extension ImageSession {
    /// What warming an image has done.
    struct WarmResult {
        /// The bytes of the image's metadata.
        var wanted = 0
        /// How many of them are in the cache now.
        var cached = 0
    }

    private static let longestRead = 1 << 20
    /// Turns at the map in which metadata is collected before it is read.
    private static let turnsAtOnce = 16
    /// Turns that go through a map at most: some seconds.
    private static let mostTurns = 1 << 20

    /// What the cache has counted of all the image's files.
    var cacheStatistics: CacheStatistics {
        files.reduce(into: CacheStatistics()) { $0 += $1.cacheStatistics }
    }

    /// The runs of the disk with their classes, in order; those beyond what its bytes on the server are worth, and what it
    /// would take too long to come to, are one of unknown blocks.
    func classMap() -> [(ByteRange, BlockClass)] {
        let limit = (1 << 20) + storedBytes / 1024
        var runs: [(ByteRange, BlockClass)] = []
        var (next, turns) = (0, 0)
        while next < image.size, runs.count < limit, turns < Self.mostTurns {
            let rest = ByteRange(offset: next, length: image.size - next)
            let end = introspector.forEachClass(in: rest, turns: Self.turnsAtOnce) { run, blockClass in
                if let last = runs.last, last.1 == blockClass {
                    let length = run.end - last.0.offset
                    runs[runs.count - 1].0 = ByteRange(offset: last.0.offset, length: length)
                } else {
                    runs.append((run, blockClass))
                }
            }
            guard end > next else { break }
            next = end
            turns += Self.turnsAtOnce
        }
        if next < image.size { runs.append((ByteRange(offset: next, length: image.size - next), .unknown)) }
        return runs
    }

    /// Reads the image's metadata into the cache, as far as the cache has room for it; blocks.
    ///
    /// A guest may call any number of bytes metadata: no more is read than the cache holds.
    ///
    /// - Parameter pause: called before each read.
    func warm(
        isCancelled: () -> Bool, pausing pause: () -> Void
    ) throws(StorageError) -> WarmResult {
        var result = WarmResult()
        var (next, turns) = (0, 0)
        while next < image.size, turns < Self.mostTurns, result.wanted < cache.byteCount {
            var runs: [ByteRange] = []
            let end = metadata(in: ByteRange(offset: next, length: image.size - next), &runs)
            for run in runs {
                for start in stride(from: run.offset, to: run.end, by: Self.longestRead) {
                    guard result.wanted < cache.byteCount else { break }
                    guard !isCancelled() else { return result }
                    pause()
                    try warm(
                        ByteRange(offset: start, length: min(Self.longestRead, run.end - start)), &result)
                }
            }
            guard end > next else { break }
            next = end
            turns += Self.turnsAtOnce
        }
        guard next < image.size else { return result }
        // What was not come to is metadata, too.
        let all = introspector.status.totals.entries
            .filter { $0.blockClass.isMetadata && $0.blockClass.pageKind != nil }.reduce(0) { $0 + $1.bytes }
        result.wanted = max(result.wanted, all)
        return result
    }

    /// Appends the runs of metadata in the beginning of `range` that the cache would keep, merged and in order; returns
    /// where that ends.
    private func metadata(in range: ByteRange, _ runs: inout [ByteRange]) -> Int {
        introspector.forEachClass(in: range, turns: Self.turnsAtOnce) { run, blockClass in
            guard blockClass.isMetadata, blockClass.pageKind != nil else { return }
            if let last = runs.last, last.end == run.offset {
                runs[runs.count - 1] = ByteRange(offset: last.offset, length: last.length + run.length)
            } else {
                runs.append(run)
            }
        }
    }

    private func warm(_ run: ByteRange, _ result: inout WarmResult) throws(StorageError) {
        try image.forEachFileRange(of: run) { (source, part) throws(StorageError) in
            guard case .file(let index, let offset) = source, files.indices.contains(index) else { return }
            let (file, range) = (files[index], ByteRange(offset: offset, length: part.length))
            guard file.isCached, let member = file.member else { return }
            try file.load(range, kinds: .ofMember(member, for: .background))
            result.wanted += range.length
            result.cached += range.length - file.missingByteCount(of: range)
        }
    }
}
