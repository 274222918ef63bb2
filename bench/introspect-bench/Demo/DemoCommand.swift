import ArgumentParser
import Console
import Glibc
import TestBed

/// `introspect-bench demo`: a guest's metadata work on a slow disk, with introspection off and on.
struct DemoCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "demo",
        abstract: "Show what introspection does for a guest's du, find, stat and rm on a slow disk.",
        discussion: """
            Makes a guest disk (GPT, LVM, ext3), puts it on a disk that answers like a mechanical one, serves that with \
            introspection off and on, and runs find, du, stat and rm -r in a real guest with the kernel's NFS client, \
            each with cold caches. Needs root. Ctrl-C takes everything away.
            """)

    @Option(help: "The disk under the datastore.")
    var preset = DiskCommandLine.Preset.mhz2250b

    @Option(help: "The number of files on the guest's disk.")
    var files = 10_000

    @Option(help: "The size of the guest's disk.")
    var size = ByteSize(bytes: 1 << 30)

    func run() throws {
        guard geteuid() == 0 else { throw ValidationError("the demo mounts file systems and needs root") }
        guard files > 0, size.bytes >= 256 << 20 else {
            throw ValidationError("the demo needs files, and a disk of 256M at least")
        }
        try separateMounts()
        let wakeful = WakefulProcessors()
        defer { withExtendedLifetime(wakeful) {} }
        try Bed.with { bed in
            let progress = Progress()
            let temporary = try TemporaryDirectory(on: bed)
            let parameters = RunParameters(
                preset: preset.rawValue, files: files, sizes: .desktop, size: size.bytes, seed: 1, pieces: 64,
                guest: .uml)
            let plan = RunPlan(
                cases: DemoReport.cases, servers: [.off, .ours], rounds: 1, watchesRemoval: false,
                parameters: parameters, environment: try RunEnvironment(isWakeful: wakeful != nil))
            let stand = try RunStand(
                for: plan.runs.map(\.identity), parameters: parameters, imageDirectory: temporary.path,
                progress: progress,
                bed: bed)
            var records: [RunRecord] = []
            let failures = try Runner(stand: stand) { records.append($0) }.run(plan.runs)
            guard failures.isEmpty else { throw TestBedError(failures.joined(separator: "\n")) }
            let guestDisk = try stand.image(of: .fileserver)
            say("\n" + DemoReport(guestDisk: guestDisk, records: records).text)
            say(try explanation(of: guestDisk.path))
            progress.say("stopping and unmounting everything")
        }
    }

    /// What the block in the middle of the disk is, and the first indirect block behind it.
    private func explanation(of image: String) throws -> String {
        let tool = try Executable.path(of: "introspect-scan")
        let middle = size.bytes / 2
        var offsets = [middle]
        let runs = try TestBed.run(tool, "runs", image).split(separator: "\n").lazy.map { $0.split(separator: " ") }
        if let indirect = runs.first(where: { $0.count == 4 && $0[2] == "indirect" && (Int($0[0]) ?? 0) > middle }),
            let offset = Int(indirect[0])
        {
            offsets.append(offset)
        }
        let texts = try offsets.map { offset in
            "introspect-scan explain --offset \(offset)\n"
                + (try TestBed.run(tool, "explain", image, "--offset", "\(offset)"))
        }
        return texts.joined(separator: "\n")
    }
}
