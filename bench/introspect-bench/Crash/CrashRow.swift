import Console
import TestBed

/// The figures of a campaign in a mode.
struct CrashRow {
    static let head = [
        "campaign", "mode", "rounds", "MiB acknowledged", "MiB checked", "bytes missing", "bytes wrong", "failures",
        "calls refused",
    ]

    let campaign: CrashCampaign
    let mode: CrashMode
    private(set) var rounds = 0
    private var acknowledgedBytes = 0
    private var refusals = 0
    private var failures = 0
    private var finding = Finding()

    init(campaign: CrashCampaign, mode: CrashMode) {
        self.campaign = campaign
        self.mode = mode
    }

    var isGood: Bool { failures == 0 && finding.isGood }

    /// Takes what came of a life, and tells what was wrong with it; whether nothing was.
    @discardableResult
    mutating func add(_ outcome: CrashCase.Outcome, _ name: String, counts: Bool) -> Bool {
        rounds += counts ? 1 : 0
        acknowledgedBytes += outcome.acknowledgedBytes
        refusals += outcome.refusals
        failures += outcome.failure == nil ? 0 : 1
        finding += outcome.finding
        guard outcome.failure != nil || !outcome.finding.isGood else { return true }
        var words = ["\(campaign.rawValue) \(mode.rawValue), \(name), \(outcome.events.joined(separator: ", ")):"]
        if !outcome.finding.isGood {
            words.append("\(outcome.finding.missing) bytes missing, \(outcome.finding.wrong) wrong")
        }
        words += [outcome.finding.example, outcome.failure].compactMap { $0 }.map { "(\($0))" }
        tell(words.joined(separator: " "))
        return false
    }

    var cells: [String] {
        [
            campaign.rawValue, mode.rawValue, "\(rounds)", "\(acknowledgedBytes >> 20)", "\(finding.checked >> 20)",
            "\(finding.missing)", "\(finding.wrong)", "\(failures)", "\(refusals)",
        ]
    }
}
