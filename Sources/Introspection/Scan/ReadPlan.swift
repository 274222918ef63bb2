import BlockStorage

/// Which reads bring in a sorted list of runs: neighbours together, and what lies between them along with them.
struct ReadPlan: Sendable {
    /// One read.
    struct Request: Hashable, Sendable {
        /// The runs it is for, as indices of the list.
        var items: Range<Int>
        /// The bytes of the volume.
        var range: ByteRange
    }

    /// The reads, in the order of the volume.
    private(set) var requests: [Request] = []

    /// Plans reads of at most `options.requestLimit` bytes for `runs`, which are sorted, disjoint and no longer
    /// than that each.
    init(_ runs: some Sequence<ByteRange>, options: ScanOptions) {
        for (index, range) in runs.enumerated() {
            if let last = requests.last, range.offset - last.range.end <= options.gapTolerance,
                range.end - last.range.offset <= options.requestLimit
            {
                requests[requests.endIndex - 1] = Request(
                    items: last.items.lowerBound..<index + 1,
                    range: ByteRange(offset: last.range.offset, length: range.end - last.range.offset))
            } else {
                requests.append(Request(items: index..<index + 1, range: range))
            }
        }
    }
}
