/// The four bytes before each fragment of a record (RFC 5531 section 11).
enum RecordMark {
    /// The length of a mark itself, in bytes.
    static let length = 4
    /// Set in the mark of a record's last fragment.
    static let lastFragment: UInt32 = 0x8000_0000

    /// The mark of a record that is one fragment of `length` bytes, below 2 GiB.
    static func last(length: Int) -> UInt32 {
        lastFragment | UInt32(length)
    }
}
