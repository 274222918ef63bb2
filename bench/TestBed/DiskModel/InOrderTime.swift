extension Drive {
    /// How long the drive at rest takes to read the bytes that `requests` read, each once and in the order of the disk,
    /// in nanoseconds: what no order of reading them is much faster than.
    public func timeInOrder(of requests: [DiskRequest]) -> Int {
        let largest = 1 << 20
        var disk = disk()
        var end = 0
        for (number, range) in Self.union(of: requests.filter { $0.kind == .read }).enumerated() {
            for offset in stride(from: range.lowerBound, to: range.upperBound, by: largest) {
                disk.submit(
                    DiskCommand(
                        identifier: number, kind: .read, offset: offset,
                        length: min(largest, range.upperBound - offset)), at: end)
                // One at a time: a queue of them would let the disk change the order.
                while let next = disk.nextEvent {
                    end = disk.advance(to: next).last?.time ?? end
                }
            }
        }
        return end
    }

    /// Ranges that together are those of the requests, sorted and apart from each other.
    private static func union(of requests: [DiskRequest]) -> [Range<Int>] {
        var result: [Range<Int>] = []
        for request in requests.sorted(by: { $0.offset < $1.offset }) {
            let range = request.offset..<request.offset + request.length
            if let last = result.last, last.upperBound >= range.lowerBound {
                result[result.count - 1] = last.lowerBound..<max(last.upperBound, range.upperBound)
            } else {
                result.append(range)
            }
        }
        return result
    }
}
