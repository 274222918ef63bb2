import ArgumentParser
import Console
import Glibc
import TestBed

/// `introspect-bench disk-check`: the modelled disks beside their data sheets.
struct DiskCheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "disk-check",
        abstract: "Print what the modelled disks do beside what their data sheets say. Needs root.",
        discussion: """
            "model" is the disk in its own time; "here" is what a program on this machine gets from the loop device \
            on the disk, in real time. Where that falls short of the model, this machine is too slow to play the disk.
            """)

    @Option(name: .customLong("preset"), help: "A disk to check; all of them by default.")
    var presets = DiskPreset.allCases

    @Option(help: "The seconds that each figure is measured for, at most.")
    var seconds = 2.0

    func run() throws {
        guard geteuid() == 0 else { throw ValidationError("disk-check makes loop devices and needs root") }
        var rows = [["", "data sheet", "model", "here"]]
        let progress = Progress()
        for preset in presets {
            progress.say("checking \(preset.rawValue)")
            rows.append([preset.rawValue])
            let measured = try Bed.with { bed in try measure(preset, bed: bed) }
            for figure in DiskFigure.allCases {
                let model = preset == .none ? nil : figure.simulated(preset.drive)
                rows.append(
                    ["  \(figure.title)"] + [preset.dataSheet[figure], model, measured[figure]].map(Self.cell))
            }
        }
        say("\n" + table(rows))
    }

    private func measure(_ preset: DiskPreset, bed: Bed) throws -> [DiskFigure: Double] {
        let temporary = try TemporaryDirectory(on: bed)
        let directory = try temporary.makeDirectory("disk")
        let file = "\(directory)/disk"
        let process = try BackgroundProcess(
            [try Executable.path(of: "introspect-bench"), "disk", directory, "--preset", preset.rawValue],
            logPath: temporary.file("disk.log"), on: bed)
        try process.wait(upTo: 10, for: "mounting") { access(file, F_OK) == 0 }
        let device = try LoopDevice(on: file, isDirect: true, bed: bed)
        var result: [DiskFigure: Double] = [:]
        for figure in DiskFigure.allCases {
            let count = figure == .sequentialReads || figure == .sequentialWrites ? 512 : 200_000
            result[figure] = try figure.measured(on: device.path, of: preset.drive, count: count, seconds: seconds)
        }
        return result
    }

    private static func cell(_ value: Double?) -> String {
        guard let value else { return "-" }
        return value < 1000 ? decimal(value) : "\(Int(value.rounded()))"
    }
}
