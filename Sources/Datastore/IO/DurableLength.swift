/// How long a file is after a power failure, as far as the server knows.
///
/// The log alone may take a stable write only before that end: past it the bytes would be safe, and out of reach
/// (invariant 1).
struct DurableLength {
    private(set) var length = 0
    private(set) var cuts = 0

    /// Takes note that `length` bytes were made durable by a flush that began when `cuts` were known.
    mutating func note(_ length: Int, since cuts: Int) {
        if cuts == self.cuts { self.length = max(self.length, length) }
    }

    /// The file may have been made shorter.
    mutating func noteCut() {
        length = 0
        cuts += 1
    }
}
