import Testing

@testable import Datastore
@testable import Introspection

/// When an image is scanned again that was scanned just now.
struct ScanIntervalTests {
    private typealias State = ImageSession.State

    /// Scans follow one another as soon as they may, after `wait`, and take `duration`; returns how many seconds each puts off
    /// the next.
    private func intervals(
        _ count: Int, wait: Duration = .zero, duration: Duration = .zero, fails: Bool = false,
        _ state: inout State
    ) -> [Int64] {
        (0..<count).map { number in
            let start = state.nextScan + wait
            let end = start + duration
            state.putOffScan(begunAt: start, hadFailed: fails && number > 0, couldRead: !fails, now: end)
            return (state.nextScan - end).components.seconds
        }
    }

    @Test func aGuestThatAsksAgainAndAgainWaitsLongerUntilItWasQuiet() {
        var state = State()
        #expect(intervals(8, &state) == [1, 2, 4, 8, 16, 32, 60, 60])
        #expect(intervals(1, wait: .seconds(60), &state) == [60])
        #expect(intervals(2, wait: .seconds(61), &state) == [1, 1])
        #expect(intervals(2, &state) == [2, 4])
    }

    /// However long a scan takes, it was not quiet meanwhile.
    @Test func scansThatTakeLongKeepTheirDistance() {
        var state = State()
        #expect(intervals(4, duration: .seconds(300), &state) == [1, 2, 4, 8])
    }

    /// What has failed is wanted all the time, also while it waits for its turn behind other images' scans.
    @Test func scansThatFailAreTriedEverMoreRarely() {
        var state = State()
        #expect(intervals(8, wait: .seconds(90), fails: true, &state) == [1, 2, 4, 8, 16, 32, 60, 60])
    }

    /// What could be read is known.
    @Test func aDiskThatStaysDamagedIsHardlyReadAnyMore() {
        var state = State()
        state.lastScan = Self.report()
        #expect(intervals(8, fails: true, &state) == [1, 2, 4, 8, 16, 32, 600, 600])
    }

    private static func report(duration: Duration = .zero) -> ScanReport {
        ScanReport(
            status: DiskIntrospector(name: "disk", diskSize: 1 << 20).status, bytesRead: 0, readCount: 0,
            duration: duration, wasCancelled: false, problems: ["damage"])
    }

    /// As ``intervals(_:wait:duration:fails:_:)``, of reviews that find what the last has found.
    private func reviewIntervals(_ count: Int, duration: Duration = .zero, _ state: inout State) -> [Int64] {
        (0..<count).map { _ in
            let (report, end) = (Self.report(duration: duration), state.nextReview + duration)
            state.putOffReview(after: report, now: end)
            state.lastScan = report
            return (state.nextReview - end).components.seconds
        }
    }

    @Test func damageThatStaysIsReviewedEverMoreRarely() {
        var state = State()
        #expect(reviewIntervals(12, &state) == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600])
    }

    /// A review that takes long is no quiet time, and what mends nothing is not to keep the disk busy.
    @Test func reviewsThatTakeLongKeepTheirDistance() {
        var state = State()
        #expect(reviewIntervals(3, duration: .seconds(700), &state) == [1, 14_000, 14_000])
        #expect(reviewIntervals(1, &state) == [8])
    }
}
