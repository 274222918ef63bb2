import BlockStorage

/// A bitmap of an ext group: bit `n` is bit `n % 8` of byte `n / 8`; set means in use.
public enum ExtBitmap {
    /// Whether bit `index` is set; false outside `bytes`.
    public static func isSet(_ index: Int, in bytes: RawSpan) -> Bool {
        guard index >= 0, index / 8 < bytes.byteCount else { return false }
        return bytes.uint8(at: index / 8) & 1 << UInt8(index % 8) != 0
    }

    /// Calls `body` with each run of set bits among the first `count`, in order.
    public static func forEachSetRun(in bytes: RawSpan, count: Int, _ body: (Range<Int>) -> Void) {
        let count = min(count, bytes.byteCount * 8)
        var index = 0
        while index < count {
            let start = next(in: bytes, from: index, to: count, set: true)
            guard start < count else { return }
            index = next(in: bytes, from: start, to: count, set: false)
            body(start..<index)
        }
    }

    /// The number of set bits among the first `count`.
    public static func setCount(in bytes: RawSpan, count: Int) -> Int {
        var total = 0
        forEachSetRun(in: bytes, count: count) { total += $0.count }
        return total
    }

    /// The first bit from `index` that is `set`, or `end`.
    private static func next(in bytes: RawSpan, from index: Int, to end: Int, set: Bool) -> Int {
        let skipped: UInt64 = set ? 0 : ~0
        var index = index
        while index < end {
            if index % 64 == 0, index + 64 <= bytes.byteCount * 8 {
                let word = bytes.uint64(at: index / 8)
                if word == skipped {
                    index += 64
                    continue
                }
                return min(index + (set ? word : ~word).trailingZeroBitCount, end)
            }
            if isSet(index, in: bytes) == set { return index }
            index += 1
        }
        return end
    }
}
