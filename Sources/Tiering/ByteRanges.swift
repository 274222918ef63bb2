import BlockStorage

extension [ByteRange] {
    /// Appends `range`, or lengthens the last one when they touch.
    mutating func appendMerging(_ range: ByteRange) {
        if let last, last.end == range.offset {
            self[count - 1] = ByteRange(offset: last.offset, length: last.length + range.length)
        } else {
            append(range)
        }
    }
}
