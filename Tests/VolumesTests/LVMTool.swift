import BlockStorage
import Foundation
import TestTools

/// lvm2 without a kernel's device-mapper, which sees the given devices only.
struct LVMTool {
    private let directory: String

    /// Writes lvm's configuration into `directory`.
    init(devices: [String], directory: String) throws {
        self.directory = directory
        let accepted = devices.map { "\"a|^\($0)$|\", " }.joined()
        let configuration = """
            devices { use_devicesfile = 0  global_filter = [ \(accepted)"r|.*|" ] }
            global { locking_dir = "\(directory)/lock"  use_lvmpolld = 0  event_activation = 0 }
            backup { backup = 0  archive = 0 }
            activation { udev_sync = 0  udev_rules = 0  monitoring = 0 }
            """
        try configuration.write(toFile: "\(directory)/lvm.conf", atomically: true, encoding: .utf8)
    }

    @discardableResult
    func callAsFunction(_ command: String, _ arguments: String...) throws -> String {
        try run(command, arguments)
    }

    func createVolume(_ arguments: String...) throws {
        try run("lvcreate", ["--activate", "n", "--zero", "n", "--wipesignatures", "n", "--yes"] + arguments)
    }

    /// A line of `lvs --segments`, in bytes.
    struct Segment {
        let volume: String
        let start: Int
        let length: Int
        let stripeSize: Int
        /// The devices and the extents on them.
        let columns: [(device: String, extent: Int)]
    }

    func segments(of group: String) throws -> [Segment] {
        let fields = "lv_name,seg_start,seg_size,stripe_size,devices"
        return try rows("lvs", "--segments", "-o", fields, "--separator", ";", group).map { row in
            let columns = row[4].split(separator: ",").compactMap { part -> (device: String, extent: Int)? in
                let halves = part.dropLast().split(separator: "(")
                return Int(halves[1]).map { (String(halves[0]), $0) }
            }
            let numbers = row[1...3].compactMap { Int($0) }
            return Segment(
                volume: row[0], start: numbers[0], length: numbers[1], stripeSize: numbers[2], columns: columns)
        }
    }

    /// Where the extents of each device begin on it, and how many bytes one has.
    func extents(of group: String) throws -> (starts: [String: Int], size: Int) {
        let rows = try rows(
            "pvs", "-o", "pv_name,pe_start,vg_extent_size", "--separator", ";", "-S", "vg_name=\(group)")
        let starts = rows.map { ($0[0], Int($0[1]) ?? -1) }
        return (Dictionary(starts) { $1 }, rows.first.flatMap { Int($0[2]) } ?? -1)
    }

    private func rows(_ command: String, _ arguments: String...) throws -> [[String]] {
        let text = try run(command, ["--noheadings", "--units", "b", "--nosuffix"] + arguments)
        return text.split(separator: "\n").map { line in
            line.trimmingCharacters(in: .whitespaces).components(separatedBy: ";")
        }
    }

    @discardableResult
    private func run(_ command: String, _ arguments: [String]) throws -> String {
        try runTool(
            "lvm", [command, "--driverloaded", "n"] + arguments,
            environment: ["LVM_SYSTEM_DIR": directory, "LVM_SUPPRESS_FD_WARNINGS": "1"])
    }
}
