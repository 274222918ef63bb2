extension RandomAccessCollection where Index == Int {
    /// The first index whose element satisfies `predicate`, given that all elements after it do too; else the end.
    ///
    /// A binary search: it asks of a number of elements that grows with the logarithm of the count.
    @inlinable
    public func partitioningIndex(where predicate: (Element) -> Bool) -> Int {
        var low = startIndex
        var high = endIndex
        while low < high {
            let middle = low + (high - low) / 2
            if predicate(self[middle]) {
                high = middle
            } else {
                low = middle + 1
            }
        }
        return low
    }
}

/// The same for hot paths: in a build without optimisation what is generic asks for memory at each step.
extension Array {
    /// The first index whose element satisfies `predicate`, given that all elements after it do too; else the end.
    ///
    /// A binary search: it asks of a number of elements that grows with the logarithm of the count.
    @inlinable
    public func partitioningIndex(where predicate: (Element) -> Bool) -> Int {
        var low = startIndex
        var high = endIndex
        while low < high {
            let middle = low + (high - low) / 2
            if predicate(self[middle]) {
                high = middle
            } else {
                low = middle + 1
            }
        }
        return low
    }
}
