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

    /// Metadata is looked for in so many bytes of the disk at a time, as long as the map is locked.
    private static let warmedAtOnce = 16 << 20
    private static let longestRead = 1 << 20

    /// What the cache has counted of all the image's files.
    var cacheStatistics: CacheStatistics {
        files.reduce(into: CacheStatistics()) { $0 += $1.cacheStatistics }
    }

    /// Reads the image's metadata into the cache, as far as the cache has room for it; blocks.
    ///
    /// - Parameter pause: called before each read.
    func warm(
        isCancelled: () -> Bool, pausing pause: () -> Void
    ) throws(StorageError) -> WarmResult {
        var result = WarmResult()
        for offset in stride(from: 0, to: image.size, by: Self.warmedAtOnce) {
            let window = ByteRange(offset: offset, length: min(Self.warmedAtOnce, image.size - offset))
            for run in metadata(in: window) {
                for start in stride(from: run.offset, to: run.end, by: Self.longestRead) {
                    guard !isCancelled() else { return result }
                    pause()
                    try warm(
                        ByteRange(offset: start, length: min(Self.longestRead, run.end - start)), &result)
                }
            }
        }
        return result
    }

    /// The runs of metadata in a part of the disk that the cache would keep, merged and in order.
    private func metadata(in window: ByteRange) -> [ByteRange] {
        var runs: [ByteRange] = []
        introspector.forEachClass(in: window) { run, blockClass in
            guard blockClass.isMetadata, blockClass.pageKind != nil else { return }
            if let last = runs.last, last.end == run.offset {
                runs[runs.count - 1] = ByteRange(offset: last.offset, length: last.length + run.length)
            } else {
                runs.append(run)
            }
        }
        return runs
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
