import Glibc

/// An element that is ordered by a key which no two elements share. All of its bytes count: it has no padding.
protocol Keyed: BitwiseCopyable, Sendable {
    associatedtype Key: Comparable & BitwiseCopyable & Sendable
    var key: Key { get }
}

/// A sorted array in chunks: a lookup is two binary searches, an insertion moves at most one chunk.
///
/// A chunk is allocated at its full size once, so that inserting allocates only when a chunk splits.
struct SortedChunks<Element: Keyed>: Sendable {
    /// Where an element is; valid until the next change.
    struct Position: Hashable, Sendable {
        var chunk: Int
        var index: Int
    }

    /// Elements a chunk can hold: 4 KiB of the largest that we keep.
    static var chunkCapacity: Int { 256 }

    /// The key of each chunk's first element, apart from the chunks so that the first search stays in few cache lines.
    private var firstKeys: [Element.Key] = []
    /// Never empty ones.
    private(set) var chunks: [[Element]] = []
    /// The number of elements.
    private(set) var count = 0

    init() {}

    /// The elements of `sorted`, whose keys ascend strictly; chunks are left with room for an eighth more.
    init(sorted: [Element]) {
        let fill = Self.chunkCapacity * 7 / 8
        var start = 0
        while start < sorted.count {
            let end = min(start + fill, sorted.count)
            appendChunk(sorted[start..<end])
            start = end
        }
        count = sorted.count
    }

    var isEmpty: Bool { count == 0 }

    /// Bytes allocated.
    var memoryBytes: Int {
        let header = 32
        let elements = chunks.reduce(0) { $0 + header + $1.capacity * MemoryLayout<Element>.stride }
        return elements + firstKeys.capacity * MemoryLayout<Element.Key>.stride
            + chunks.capacity * MemoryLayout<[Element]>.stride
    }

    subscript(position: Position) -> Element {
        chunks[position.chunk][position.index]
    }

    /// The position of the last element whose key is at most `key`.
    func lastPosition(notAfter key: Element.Key) -> Position? {
        let chunk = Self.countNotAfter(key, count: firstKeys.count) { firstKeys[$0] } - 1
        guard chunk >= 0 else { return nil }
        let index = chunks[chunk].withUnsafeBufferPointer { elements in
            Self.countNotAfter(key, count: elements.count) { elements[$0].key } - 1
        }
        return Position(chunk: chunk, index: index)
    }

    /// The position of the first element, or nil when there is none.
    var firstPosition: Position? {
        chunks.isEmpty ? nil : Position(chunk: 0, index: 0)
    }

    /// The position after `position`, or nil at the end.
    func position(after position: Position) -> Position? {
        if position.index + 1 < chunks[position.chunk].count {
            return Position(chunk: position.chunk, index: position.index + 1)
        }
        return position.chunk + 1 < chunks.count ? Position(chunk: position.chunk + 1, index: 0) : nil
    }

    /// The position of the first element whose key is greater than `key`.
    func firstPosition(after key: Element.Key) -> Position? {
        guard let position = lastPosition(notAfter: key) else { return firstPosition }
        return self.position(after: position)
    }

    /// Puts `element` in its place; replaces the element with the same key.
    mutating func insert(_ element: Element) {
        guard let position = lastPosition(notAfter: element.key) else {
            insertFirst(element)
            return
        }
        if self[position].key == element.key {
            chunks[position.chunk][position.index] = element
            return
        }
        guard chunks[position.chunk].count < Self.chunkCapacity else {
            makeRoom(position.chunk)
            insert(element)
            return
        }
        chunks[position.chunk].insert(element, at: position.index + 1)
        count += 1
    }

    /// Removes the element with `key`; returns it, or nil when there is none.
    @discardableResult
    mutating func remove(_ key: Element.Key) -> Element? {
        guard let position = lastPosition(notAfter: key), self[position].key == key else { return nil }
        let element = chunks[position.chunk].remove(at: position.index)
        count -= 1
        if chunks[position.chunk].isEmpty {
            chunks.remove(at: position.chunk)
            firstKeys.remove(at: position.chunk)
        } else {
            if position.index == 0 {
                firstKeys[position.chunk] = chunks[position.chunk][0].key
            }
            mergeIfSparse(position.chunk)
        }
        return element
    }

    /// Removes the chunk that `hand` falls on, counted round, and returns its elements.
    mutating func removeChunk(hand: Int) -> [Element] {
        guard !chunks.isEmpty else { return [] }
        let chunk = hand % chunks.count
        firstKeys.remove(at: chunk)
        let elements = chunks.remove(at: chunk)
        count -= elements.count
        return elements
    }

    /// Takes the chunks that `other` has too from there: they take memory once until either changes them.
    mutating func share(with other: Self) {
        for index in chunks.indices {
            guard let position = other.lastPosition(notAfter: firstKeys[index]) else { continue }
            let chunk = other.chunks[position.chunk]
            if Self.areEqual(chunks[index], chunk) { chunks[index] = chunk }
        }
    }

    private static func areEqual(_ left: [Element], _ right: [Element]) -> Bool {
        left.withUnsafeBytes { left in
            right.withUnsafeBytes { right in
                guard left.count == right.count else { return false }
                guard let start = left.baseAddress, let other = right.baseAddress else { return true }
                return memcmp(start, other, left.count) == 0
            }
        }
    }

    /// Calls `body` with every element in order.
    func forEach(_ body: (Element) -> Void) {
        for chunk in chunks {
            for element in chunk {
                body(element)
            }
        }
    }

    private mutating func insertFirst(_ element: Element) {
        if chunks.isEmpty {
            appendChunk([element][...])
        } else {
            if chunks[0].count == Self.chunkCapacity { makeRoom(0) }
            chunks[0].insert(element, at: 0)
            firstKeys[0] = element.key
        }
        count += 1
    }

    private mutating func appendChunk(_ elements: ArraySlice<Element>) {
        firstKeys.append(elements[elements.startIndex].key)
        chunks.append(Self.makeChunk(elements))
    }

    /// Makes room in a full chunk: shares with a neighbour that has some, which keeps chunks fuller than splitting
    /// each would, or splits it.
    private mutating func makeRoom(_ chunk: Int) {
        for left in [chunk, chunk - 1] where left >= 0 && left + 1 < chunks.count {
            guard chunks[left].count + chunks[left + 1].count <= Self.chunkCapacity * 15 / 8 else { continue }
            balance(left)
            return
        }
        let middle = chunks[chunk].count / 2
        let right = Self.makeChunk(chunks[chunk][middle...])
        chunks[chunk].removeSubrange(middle...)
        firstKeys.insert(right[0].key, at: chunk + 1)
        chunks.insert(right, at: chunk + 1)
    }

    /// Makes the chunk `left` and the one after it equally full.
    private mutating func balance(_ left: Int) {
        let target = (chunks[left].count + chunks[left + 1].count) / 2
        if chunks[left].count > target {
            let moved = Array(chunks[left][target...])
            chunks[left].removeSubrange(target...)
            chunks[left + 1].insert(contentsOf: moved, at: 0)
        } else {
            let moved = target - chunks[left].count
            chunks[left].append(contentsOf: chunks[left + 1][..<moved])
            chunks[left + 1].removeFirst(moved)
        }
        firstKeys[left + 1] = chunks[left + 1][0].key
    }

    /// Joins a chunk with a neighbour when both fit into three quarters of one, so that removals give memory back.
    private mutating func mergeIfSparse(_ chunk: Int) {
        for left in [chunk, chunk - 1] where left >= 0 && left + 1 < chunks.count {
            guard chunks[left].count + chunks[left + 1].count <= Self.chunkCapacity * 3 / 4 else { continue }
            let right = chunks.remove(at: left + 1)
            firstKeys.remove(at: left + 1)
            chunks[left].append(contentsOf: right)
        }
    }

    private static func makeChunk(_ elements: ArraySlice<Element>) -> [Element] {
        var chunk: [Element] = []
        chunk.reserveCapacity(chunkCapacity)
        chunk.append(contentsOf: elements)
        return chunk
    }

    /// How many of `count` ascending keys are at most `key`.
    @inline(__always)
    private static func countNotAfter(_ key: Element.Key, count: Int, keyAt: (Int) -> Element.Key) -> Int {
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            if keyAt(middle) <= key {
                low = middle + 1
            } else {
                high = middle
            }
        }
        return low
    }
}
