/// How often something took how long, in fixed memory and to about one percent: 64 steps for every power of two.
struct LatencyHistogram {
    private static let steps = 64
    private static let stepBits = 6
    /// Up to 2^40 ns, which is 18 minutes; what takes longer counts as that.
    private static let longest: UInt64 = (1 << 40) - 1

    private var counts = [UInt32](repeating: 0, count: (40 - stepBits + 1) * steps)
    /// What was counted.
    private(set) var total = 0

    /// Counts one that took `nanoseconds`.
    mutating func add(_ nanoseconds: UInt64) {
        counts[Self.index(min(nanoseconds, Self.longest))] += 1
        total += 1
    }

    /// Adds what another counted.
    mutating func add(_ other: LatencyHistogram) {
        for index in counts.indices { counts[index] += other.counts[index] }
        total += other.total
    }

    /// The time in microseconds that `fraction` of all did not exceed; 0 when there are none.
    func percentile(_ fraction: Double) -> Double {
        var left = Int((Double(total) * fraction).rounded(.up))
        for (index, count) in counts.enumerated() {
            left -= Int(count)
            if left <= 0, count > 0 { return Double(Self.middle(index)) / 1000 }
        }
        return 0
    }

    private static func index(_ value: UInt64) -> Int {
        let shift = max(0, 63 - value.leadingZeroBitCount - stepBits)
        return shift * steps + Int(value >> UInt64(shift))
    }

    /// The middle of what `index` stands for.
    private static func middle(_ index: Int) -> UInt64 {
        guard index >= 2 * steps else { return UInt64(index) }
        let shift = UInt64(index / steps - 1)
        return UInt64(index % steps + steps) << shift + (1 << shift) / 2
    }
}
