import ArgumentParser
import Console
import Glibc
import TestBed

/// `introspect-bench run`: workloads against servers, in rounds.
struct RunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Run workloads in a guest against servers on the same slow disk, and keep what each run took.",
        discussion: """
            A workload is one of \(Workload.allCases.map(\.rawValue).joined(separator: ", ")); with @N for N guests at \
            once, with +neighbour beside one that streams data: rm, find@4, rm+neighbour. By default those of the \
            paper's figure, and the scan. In every round each server runs each workload once, from the same state of \
            the same disk, everything cold. Each run is kept as one JSON file, and what is kept already is not run \
            again. Needs root. Ctrl-C takes everything away but the results.
            """)

    @Argument(help: "The workloads.")
    var workloads: [Case] = []

    @Option(
        help:
            "The servers, with commas between them: ours, cache, ssd, off, ganesha, floor; for the scan e2image and depth-first."
    )
    var servers = ServerKindList(kinds: ServerKind.allCases.filter { !$0.isScanner })

    @Option(help: "How often each server runs each workload.")
    var rounds = 5

    @OptionGroup var options: RunOptions

    @Flag(help: "Run also what is kept already.")
    var fresh = false

    func validate() throws {
        guard rounds > 0, options.files >= 100, options.size.bytes >= 256 << 20 else {
            throw ValidationError("a benchmark needs rounds, 100 files, and a disk of 256M at least")
        }
    }

    func run() throws {
        guard geteuid() == 0 else { throw ValidationError("the benchmark mounts file systems and needs root") }
        try separateMounts()
        let wakeful = WakefulProcessors()
        defer { withExtendedLifetime(wakeful) {} }
        let cases = workloads.isEmpty ? [Case(.scan)] + Workload.figure.map { Case($0) } : workloads
        let progress = Progress()
        let store = try RunStore(at: options.results)
        var plan = RunPlan(
            cases: cases, servers: servers.kinds, rounds: rounds, parameters: options.parameters,
            environment: try RunEnvironment(isWakeful: wakeful != nil))
        if !fresh { plan.leaveOut { store.record($0.identity, isWatched: $0.isWatched) != nil } }
        progress.say("\(plan.runs.count) runs to do; results in \(store.directory)")
        guard !plan.runs.isEmpty else { return }
        let failures = try Bed.with { bed in
            let stand = try RunStand(
                for: plan.runs.map(\.identity), parameters: options.parameters,
                imageDirectory: options.images, progress: progress, bed: bed)
            return try Runner(stand: stand, keep: store.keep).run(plan.runs)
        }
        guard failures.isEmpty else {
            throw TestBedError("these runs failed, all others are kept:\n\(failures.joined(separator: "\n"))")
        }
    }
}

/// What describes the runs to make, or to look for.
struct RunOptions: ParsableArguments {
    @Option(help: "The disk under the datastore.")
    var preset = DiskCommandLine.Preset.mhz2250b

    @Option(help: "The guest: native (this machine's kernel) or uml (user-mode Linux).")
    var guest = GuestKind.native

    @Option(help: "The device under the redirect log.")
    var ssdPreset = DiskCommandLine.Preset.x25m

    @Option(help: "The number of files on the guest's disk.")
    var files = 2000

    @Option(help: "The size of the guest's disk.")
    var size = ByteSize(bytes: 512 << 20)

    @Option(help: "The RAM cache of our servers. (default: that of introspectd)")
    var cache: ByteSize?

    @Option(help: "Names the contents of the disks and the order of the loads.")
    var seed: UInt64 = 1

    @Option(help: "Where results are kept.")
    var results = "bench/results/scaled"

    @Option(help: "Where the guests' disks are kept between runs.")
    var images = ".build/bench-images"

    var parameters: RunParameters {
        RunParameters(
            preset: preset.rawValue, files: files, sizes: .gamma(mean: 128 << 10), size: size.bytes, seed: seed,
            pieces: 64, guest: guest, ssdPreset: ssdPreset.rawValue, cache: cache?.description)
    }
}

extension GuestKind: ExpressibleByArgument {}

/// Servers on the command line.
struct ServerKindList: ExpressibleByArgument {
    let kinds: [ServerKind]

    init(kinds: [ServerKind]) {
        self.kinds = kinds
    }

    init?(argument: String) {
        let names = argument.split(separator: ",").map(String.init)
        kinds = names.compactMap { ServerKind(rawValue: $0) }
        guard !kinds.isEmpty, kinds.count == names.count, Set(kinds).count == kinds.count else { return nil }
    }

    var defaultValueDescription: String { kinds.map(\.rawValue).joined(separator: ",") }
}
