/// What clients may see of one image, sector by sector: each write has a stamp, which fills its sectors.
struct WriteModel {
    private struct Sector {
        /// The stamp of the last acknowledged write.
        var latest: UInt64 = 0
        /// What a crash may leave: more than one only while writes were acknowledged as unstable.
        var afterCrash: Set<UInt64> = [0]
        /// Writes since that were not acknowledged: under way, or failed.
        var unanswered: Set<UInt64> = []
        /// What the image had at the last start beneath what the log had newer, of a write that was not acknowledged.
        var beneath: UInt64?
        /// Whether a failed flush may have lost unstable writes, which their client knows by the write verifier.
        var isPoisoned = false
    }

    private var sectors: [Sector]

    init(sectorCount: Int) {
        sectors = Array(repeating: Sector(), count: sectorCount)
    }

    var sectorCount: Int { sectors.count }

    mutating func begin(_ stamp: UInt64, _ range: Range<Int>) {
        for index in range { sectors[index].unanswered.insert(stamp) }
    }

    mutating func acknowledge(_ stamp: UInt64, _ range: Range<Int>, isStable: Bool) {
        for index in range {
            let failed = sectors[index].unanswered.subtracting([stamp])
            sectors[index].latest = stamp
            sectors[index].unanswered = []
            if isStable {
                sectors[index].afterCrash = [stamp]
                sectors[index].beneath = nil
                sectors[index].isPoisoned = false
            } else {
                sectors[index].afterCrash.formUnion(failed.union([stamp]))
            }
        }
    }

    /// A COMMIT of the whole image was acknowledged.
    mutating func acknowledgeCommit() {
        for index in sectors.indices where !sectors[index].isPoisoned {
            sectors[index].afterCrash = [sectors[index].latest]
        }
    }

    /// A flush failed.
    mutating func poison() {
        for index in sectors.indices where sectors[index].afterCrash.count > 1 || !sectors[index].unanswered.isEmpty {
            sectors[index].isPoisoned = true
        }
    }

    /// Whether a client may read `stamp` now.
    func allows(_ stamp: UInt64, at index: Int) -> Bool {
        sectors[index].latest == stamp || sectors[index].unanswered.contains(stamp)
    }

    /// Whether a client may read `stamp` after a crash; what it reads then stays.
    ///
    /// - Parameter beneath: what the image alone has.
    mutating func settle(_ stamp: UInt64, beneath: UInt64, at index: Int) -> Bool {
        guard sectors[index].afterCrash.contains(stamp) || sectors[index].unanswered.contains(stamp) else {
            return false
        }
        sectors[index] = Sector(latest: stamp, afterCrash: [stamp], beneath: beneath == stamp ? nil : beneath)
        return true
    }

    /// Whether an image that took all that was acknowledged may hold `stamp`, without its log.
    func allowsAlone(_ stamp: UInt64, at index: Int) -> Bool {
        let sector = sectors[index]
        return sector.afterCrash.contains(stamp) || sector.unanswered.contains(stamp) || sector.latest == stamp
            || sector.beneath == stamp
    }

    /// The log is gone: what the image holds is what clients see.
    mutating func loseLog(_ stamp: UInt64, at index: Int) {
        guard let beneath = sectors[index].beneath else { return }
        sectors[index].afterCrash.insert(beneath)
        if stamp == beneath || sectors[index].unanswered.contains(stamp) { sectors[index].latest = beneath }
    }

    func expectation(at index: Int) -> String {
        let sector = sectors[index]
        return "latest \(sector.latest), after a crash \(sector.afterCrash.sorted()), "
            + "unanswered \(sector.unanswered.sorted())"
    }
}
