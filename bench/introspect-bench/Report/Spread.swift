import Console

/// Several measurements of one thing.
struct Spread {
    /// In rising order; never empty.
    let values: [Double]

    /// Nil when there are no values.
    init?(_ values: [Double]) {
        guard !values.isEmpty else { return nil }
        self.values = values.sorted()
    }

    var median: Double { quantile(0.5) }

    /// Half of the values lie within so much.
    var interquartileRange: Double { quantile(0.75) - quantile(0.25) }

    /// Whether the values lie too far apart for their median to mean much. What no stopwatch would see does not count.
    var isDisturbed: Bool {
        values.count > 1 && interquartileRange > max(Self.widestSpread * median, Self.smallestDifference)
    }

    /// Measurements that make a median.
    static let enoughRuns = 5
    /// The widest interquartile range of undisturbed values, as a part of their median.
    static let widestSpread = 0.2
    /// Seconds; guests have clocks of 10 ms, and schedulers.
    static let smallestDifference = 0.06

    private func quantile(_ part: Double) -> Double {
        let place = part * Double(values.count - 1)
        let low = Int(place)
        let high = min(low + 1, values.count - 1)
        return values[low] + (values[high] - values[low]) * (place - Double(low))
    }

    /// Median and range, as in a table.
    var text: String {
        let range = "\(decimal(values[0]))–\(decimal(values[values.count - 1]))"
        return (values.count == 1 ? decimal(median) : "\(decimal(median)) (\(range))") + remark
    }

    /// Of how many measurements it is, where those are too few to rely on.
    var remark: String {
        switch values.count {
        case 1: ", 1 run"
        case ..<Self.enoughRuns: ", \(values.count) runs"
        default: ""
        }
    }
}
