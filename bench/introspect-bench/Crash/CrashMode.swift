import ArgumentParser

/// What a server does with writes that its redirect log could take.
enum CrashMode: String, CaseIterable, ExpressibleByArgument {
    case off
    case writeback
    case writethrough
    case mirror
    case stripe

    /// Devices that the log is on.
    var logs: Int {
        switch self {
        case .off: 0
        case .writeback, .writethrough: 1
        case .mirror, .stripe: 2
        }
    }

    /// Whether the image file alone has everything at any moment.
    var fileIsComplete: Bool { self == .off || self == .writethrough }

    /// Words of `introspectd serve` for a log in these directories.
    func options(logs directories: [String]) -> [String] {
        guard self != .off else { return [] }
        var words = directories.flatMap { ["--ssd", $0] }
        words += ["--ssd-mode", self == .writethrough ? "writethrough" : "writeback"]
        // The least for each device.
        words += ["--ssd-size", self == .stripe ? "128M" : "64M"]
        words += ["--ssd-classes", "metadata,data"]
        return self == .mirror ? words + ["--ssd-mirror"] : words
    }
}
