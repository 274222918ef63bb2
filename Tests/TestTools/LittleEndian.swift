extension [UInt8] {
    /// Stores a little-endian number at `offset`.
    public mutating func store(_ value: some FixedWidthInteger, at offset: Int) {
        for index in 0..<value.bitWidth / 8 {
            self[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * index))
        }
    }
}
