/// What a file that ``Churn`` made must hold: pieces of a pattern, zeros between them.
struct ChurnFile: Hashable, Sendable {
    /// A stretch of the pattern that `seed` names.
    struct Piece: Hashable, Sendable {
        var range: Range<Int>
        let seed: UInt64
    }

    private(set) var size = 0
    private(set) var pieces: [Piece] = []

    mutating func write(_ range: Range<Int>, seed: UInt64) {
        clear(range)
        pieces.append(Piece(range: range, seed: seed))
        size = max(size, range.upperBound)
    }

    /// Makes `range` zeros, as far as it is in the file.
    mutating func clear(_ range: Range<Int>) {
        pieces = pieces.flatMap { piece in
            [
                piece.range.lowerBound..<range.lowerBound.clamped(from: piece.range),
                range.upperBound.clamped(from: piece.range)..<piece.range.upperBound,
            ]
            .filter { !$0.isEmpty }
            .map { Piece(range: $0, seed: piece.seed) }
        }
    }

    mutating func truncate(to newSize: Int) {
        pieces = pieces.compactMap { piece in
            let end = min(piece.range.upperBound, newSize)
            return piece.range.lowerBound < end ? Piece(range: piece.range.lowerBound..<end, seed: piece.seed) : nil
        }
        size = newSize
    }

    /// The bytes of `range`, which lies within the file.
    func bytes(in range: Range<Int>) -> [UInt8] {
        var result = [UInt8](repeating: 0, count: range.count)
        for piece in pieces where piece.range.overlaps(range) {
            let common = piece.range.clamped(to: range)
            Self.fill(&result, from: common.lowerBound - range.lowerBound, with: common, seed: piece.seed)
        }
        return result
    }

    static func pattern(_ range: Range<Int>, seed: UInt64) -> [UInt8] {
        var result = [UInt8](repeating: 0, count: range.count)
        fill(&result, from: 0, with: range, seed: seed)
        return result
    }

    /// Every eight bytes of the pattern are a number that depends on the seed and their place in the file.
    private static func fill(_ bytes: inout [UInt8], from index: Int, with range: Range<Int>, seed: UInt64) {
        let firstWord = range.lowerBound / 8
        let words = (firstWord..<(range.upperBound + 7) / 8).map { number in
            let word = (seed ^ UInt64(number)) &* 0x9E37_79B9_7F4A_7C15
            return (word ^ word >> 29).littleEndian
        }
        let start = range.lowerBound - firstWord * 8
        words.withUnsafeBytes { source in
            bytes.withUnsafeMutableBytes { target in
                UnsafeMutableRawBufferPointer(rebasing: target[index..<index + range.count])
                    .copyMemory(from: UnsafeRawBufferPointer(rebasing: source[start..<start + range.count]))
            }
        }
    }
}

extension Int {
    fileprivate func clamped(from range: Range<Int>) -> Int {
        Swift.min(Swift.max(self, range.lowerBound), range.upperBound)
    }
}
