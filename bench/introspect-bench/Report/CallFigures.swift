import Console

/// What was measured of single calls of 4 KiB, as the table of targets wants it.
struct CallFigures {
    var records: [MicroRecord] = []
    var classCosts: [ClassCost] = []

    /// Of one kind of call, so many at a time, on one connection.
    private func spread(
        _ operation: LoadCell.Operation, depth: Int, of server: MicroRecord.Server, _ value: (LoadResult) -> Double?
    ) -> Spread? {
        let size = [.read, .write, .writeSync].contains(operation) ? 4 << 10 : 0
        let cell = LoadCell(operation: operation, size: size, depth: depth)
        return Spread(records.filter { $0.cell == cell && $0.server == server }.compactMap { value($0.result) })
    }

    /// How one server stands to another.
    func ratio(
        _ operation: LoadCell.Operation, depth: Int, of first: MicroRecord.Server, to second: MicroRecord.Server,
        _ value: (LoadResult) -> Double?, isMet: (Double) -> Bool
    ) -> Target.Standing {
        guard let above = spread(operation, depth: depth, of: first, value),
            let below = spread(operation, depth: depth, of: second, value), below.median > 0
        else { return .notMeasured("not part of this run") }
        guard !above.isTooWide, !below.isTooWide else { return .disturbed }
        let ratio = above.median / below.median
        return .figure("\(decimal(ratio))×", isMet: isMet(ratio))
    }

    /// Which part of the processor time of an UNSTABLE WRITE goes to telling the class of a guest's data and taking note
    /// of it; and how much more a WRITE takes than with introspection off, since the RAM cache copies the bytes, too.
    var costOfIntrospection: Target.Standing {
        guard let cost = classCosts.first(where: { $0.blockClass == "data" }),
            let with = spread(.write, depth: 32, of: .ours, \.serverMicroseconds), with.median > 0
        else { return .notMeasured("not part of this run") }
        guard !with.isTooWide else { return .disturbed }
        let part = (cost.classifyNanoseconds + cost.noteNanoseconds) / 1000 / with.median
        var figure = "\(percent(part)) %"
        if let without = spread(.write, depth: 32, of: .off, \.serverMicroseconds), !without.isTooWide {
            figure += ", \(percent(with.median / without.median - 1)) % in all, the RAM cache's copy with it"
        }
        return .figure(figure, isMet: part <= 0.03)
    }

    /// Where the time of a stable write goes; nil where it was not measured.
    var accountOfStableWrites: String? {
        let whole = spread(.writeSync, depth: 1, of: .ours, \.medianMicroseconds)
        let disk = spread(.writeSync, depth: 1, of: .local, \.medianMicroseconds)
        let onLoop = spread(.getattr, depth: 1, of: .ours, \.medianMicroseconds)
        let onThread = spread(.lookup, depth: 1, of: .ours, \.medianMicroseconds)
        guard let whole, let disk, let onLoop, let onThread,
            ![whole, disk, onLoop, onThread].contains(where: \.isTooWide)
        else { return nil }
        func microseconds(_ spread: Spread) -> String { "\(Int(spread.median.rounded())) µs" }
        return """
            **FILE_SYNC WRITEs**: one at a time takes \(microseconds(whole)), pwrite and fdatasync alone \
            \(microseconds(disk)). A GETATTR, which needs neither disk nor another thread, takes \
            \(microseconds(onLoop)) from request to answer, a LOOKUP, which changes threads twice as a WRITE does, \
            \(microseconds(onThread)): that much goes to the network and to waking threads. It counts for less where there \
            is more to do at once; see 16 in flight.
            """
    }
}

extension Spread {
    /// Whether the middle half lies too far apart for a ratio.
    fileprivate var isTooWide: Bool { interquartileRange > Self.widestSpread * median }
}
