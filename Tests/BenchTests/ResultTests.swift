import Glibc
import TestBed
import Testing

@testable import introspect_bench

/// What the page makes of records.
struct ResultTests {
    @Test func aMedianHasHalfOfTheValuesBelowIt() throws {
        let spread = try #require(Spread([5, 1, 4, 2, 3]))
        #expect(spread.median == 3)
        #expect(spread.interquartileRange == 2)
        #expect(try #require(Spread([1, 2])).median == 1.5)
        #expect(Spread([]) == nil)
    }

    @Test func valuesFarApartAreDisturbed() throws {
        #expect(try #require(Spread([10, 10.5, 11, 10.2, 9.9])).isDisturbed == false)
        #expect(try #require(Spread([10, 15, 11, 18, 9])).isDisturbed)
        // One that is far off does not disturb the middle.
        #expect(try #require(Spread([10, 10, 10, 10, 30])).isDisturbed == false)
        // What a guest's clock cannot tell apart is no disturbance.
        #expect(try #require(Spread([0.01, 0.05, 0.02, 0.03, 0.06])).isDisturbed == false)
    }

    @Test func aSavingIsAgainstTheFasterOfOffAndGanesha() throws {
        let results = try #require(
            Results([
                try record(.rm, .off, seconds: 40), try record(.rm, .ganesha, seconds: 20),
                try record(.rm, .ours, seconds: 1),
            ]))
        #expect(results.saving(Case(.rm))?.text == "95.0 %, 1 run")
        #expect(results.saving(Case(.rm))?.timesText == "20.00×")
        #expect(results.saving(Case(.du)) == nil)
        let target = try #require(Target.all(results).first { $0.measured == Case(.rm) })
        #expect(target.isMissed)
    }

    @Test func aDisturbedFigureGivesNoRatio() throws {
        var records = try [10.0, 30, 12, 50, 11].enumerated().map { round, seconds in
            try record(.find, .off, seconds: seconds, round: round + 1)
        }
        records += try (1...5).map { try record(.find, .ours, seconds: 1, round: $0) }
        let results = try #require(Results(records))
        #expect(results.saving(Case(.find))?.text == "disturbed")
        #expect(Page(results: results, hasRemovalChart: false).text.contains("disturbed"))
    }

    @Test func ofHowManyRunsAFigureIsStandsBesideItWhenTheyAreFew() throws {
        #expect(Spread([1])?.text == "1.00, 1 run")
        #expect(Spread([1, 2])?.text == "1.50 (1.00–2.00), 2 runs")
        #expect(Spread([1, 2, 3, 4, 5])?.text == "3.00 (1.00–5.00)")
    }

    @Test func otherBenchmarksGetSectionsOfTheirOwn() throws {
        var big = [try record(.rm, .off, seconds: 40), try record(.rm, .ours, seconds: 4)]
        for index in big.indices { big[index].identity.parameters.files = 90_000 }
        let further = FurtherResults(title: "At full size", results: try #require(Results(big)))
        let results = try #require(Results([try record(.rm, .ours, seconds: 1)]))
        let page = Page(results: results, hasRemovalChart: false, further: [further]).text
        #expect(page.contains("## At full size"))
        #expect(page.contains("90000 files"))
        #expect(page.contains("90.0 %, 1 run"))
        #expect(FurtherResults.Place(argument: "no directory") == nil)
    }

    @Test func recordsOfAnotherBenchmarkDoNotCount() throws {
        var other = try record(.rm, .ours, seconds: 9)
        other.identity.parameters.files += 1
        other.date = "2001-01-01T00:00:00Z"
        let results = try #require(Results([other, try record(.rm, .ours, seconds: 1)]))
        #expect(results.seconds(Case(.rm), .ours)?.values == [1])
        #expect(results.others == 1)
    }

    @Test func casesAreReadAsTheyAreWritten() throws {
        for text in ["rm", "find@4", "du+neighbour", "stat@8+neighbour"] {
            #expect(Case(argument: text)?.description == text)
        }
        for text in ["", "rmm", "rm@0", "rm@9", "rm@", "scan@4", "webserver@4", "rm+neighbor"] {
            #expect(Case(argument: text) == nil)
        }
    }

    @Test func aServerGoesFirstOnceInAsManyRoundsAsThereAreServers() throws {
        let plan = RunPlan(
            cases: [Case(.scan), Case(.rm)], servers: [.ours, .off, .floor], rounds: 3,
            parameters: Self.parameters, environment: try RunEnvironment())
        let removals = plan.runs.filter { $0.identity.measured == Case(.rm) && !$0.isWatched }
        #expect(removals.count == 9)
        #expect(Set(stride(from: 0, to: 9, by: 3).map { removals[$0].identity.server }).count == 3)
        #expect(plan.runs.filter { $0.identity.measured == Case(.scan) }.allSatisfy { $0.identity.server == .ours })
        #expect(plan.runs.filter(\.isWatched).map(\.identity.server) == [.ours, .off])
    }

    // MARK: - Keeping

    @Test func whatIsKeptIsFoundAgainUnlessSomethingDiffers() throws {
        try Bed.with { bed in
            let store = try RunStore(at: TemporaryDirectory(on: bed).file("results"))
            let kept = try record(.rm, .ours, seconds: 1)
            try store.keep(kept)
            #expect(store.record(kept.identity)?.seconds == 1)
            var other = kept.identity
            other.round = 2
            #expect(store.record(other) == nil)
            other = kept.identity
            other.environment.commit += "-dirty"
            #expect(store.record(other) == nil)
            #expect(try store.all().count == 1)
        }
    }

    @Test(.enabled(if: geteuid() == 0, "mounts a small file system"))
    func aFullDiskKeepsTheResultsThatWereThere() throws {
        try Bed.with { bed in
            let directory = try TemporaryDirectory(on: bed).makeDirectory("results")
            _ = try Mount("tmpfs", on: directory, type: "tmpfs", options: "size=64k", bed: bed)
            let store = try RunStore(at: directory)
            var kept = 0
            let failure = #expect(throws: TestBedError.self) {
                for round in 1...100 {
                    try store.keep(try record(.rm, .ours, seconds: 1, round: round))
                    kept += 1
                }
            }
            #expect(failure?.description.contains("No space left") == true)
            #expect(kept > 0)
            #expect(try store.all().count == kept)
        }
    }

    // MARK: -

    private static let parameters = RunParameters(
        preset: "none", files: 100, sizes: .desktop, size: 256 << 20, seed: 1, pieces: 64)

    private func record(
        _ workload: Workload, _ server: ServerKind, seconds: Double, round: Int = 1
    ) throws -> RunRecord {
        RunRecord(
            identity: RunRecord.Identity(
                measured: Case(workload), server: server, round: round, parameters: Self.parameters,
                environment: try RunEnvironment()),
            date: "2026-01-0\(round % 10)T00:00:00Z", seconds: seconds, syncSeconds: 0, answer: "",
            disk: DiskStatistics(), requests: ["indirect": .init(reads: 3, writes: 0, bytes: 12288)])
    }
}
