import TestBed

/// Lines that tell how far a long run is.
struct Progress: Sendable {
    private let start = ContinuousClock.now

    func say(_ line: String) {
        let seconds = Int((ContinuousClock.now - start) / .seconds(1))
        let padding = String(repeating: " ", count: max(0, 4 - "\(seconds)".count))
        TestBed.say("[\(padding)\(seconds) s] \(line)")
    }
}
