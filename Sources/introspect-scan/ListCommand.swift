import ArgumentParser
import BlockStorage
import Console
import FoundationEssentials
import GuestFilesystems
import Introspection

/// `introspect-scan ls`.
struct ListCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ls",
        abstract: "Lists a guest's directory, or tells of one file, like ls -lin.",
        discussion: "Inode, mode, links, owner, group, size, time of the last change (UTC) and name.")

    @OptionGroup var arguments: ImageArguments

    @Argument(help: "A path in the guest's file system.")
    var path = "/"

    @Flag(name: .shortAndLong, help: "List all that is below the directory, with paths from there.")
    var recursive = false

    @OptionGroup var choice: VolumeChoice

    func run() throws {
        try withGuestFileSystem(arguments.image, arguments.others, choice) { fileSystem in
            let file = try fileSystem.file(at: path)
            var lines: [Line] = []
            if file.kind == .directory {
                try list(file, fileSystem, &lines)
                lines.sort { $0.name < $1.name }
            } else {
                lines.append(Line(path, file.number, fileSystem))
            }
            if arguments.json { return try printJSON(lines) }
            if !lines.isEmpty { try printLine(Line.text(lines)) }
            if complain(about: lines.compactMap(\.problem).map { "\(arguments.image): \($0)" }) {
                throw ExitStatus.problems
            }
        }
    }

    /// Adds the names in `root` to `lines`, and those below it if they are wanted; of no directory twice, whatever the
    /// guest says.
    private func list(_ root: GuestFile, _ fileSystem: GuestFileSystem, _ lines: inout [Line]) throws(GuestFileError) {
        var visited: Set<UInt32> = []
        var directories = [(root, "")]
        while let (directory, prefix) = directories.popLast() {
            guard visited.insert(directory.number).inserted else { continue }
            for entry in try fileSystem.entries(of: directory) where entry.name != "." && entry.name != ".." {
                lines.append(Line(prefix + entry.name, entry.inode, fileSystem))
                guard recursive, let file = try? fileSystem.file(inode: entry.inode), file.kind == .directory else {
                    continue
                }
                directories.append((file, "\(prefix)\(entry.name)/"))
            }
        }
    }
}

/// A name and the inode behind it.
private struct Line: Encodable {
    var name: String
    var inode: UInt32
    var mode: String?
    var links: Int?
    var user: UInt32?
    var group: UInt32?
    var size: UInt64?
    var modified: Date?
    var target: String?
    /// Why there is no more than the name.
    var problem: String?

    init(_ name: String, _ inode: UInt32, _ fileSystem: GuestFileSystem) {
        self.name = name
        self.inode = inode
        do throws(GuestFileError) {
            let file = try fileSystem.file(inode: inode)
            mode = Self.mode(of: file)
            links = file.linkCount
            user = file.user
            group = file.group
            size = file.size
            modified = Date(timeIntervalSince1970: Double(file.modificationTime))
            if file.kind == .symbolicLink { target = try fileSystem.target(of: file) }
        } catch {
            problem = "\(name): \(error)"
        }
    }

    static func text(_ lines: [Line]) -> String {
        let rows = lines.map(\.cells)
        let widths = (0..<7).map { column in rows.map { $0[column].count }.max() ?? 0 }
        return zip(lines, rows).map { line, cells in
            let columns = cells.indices.map { String(repeating: " ", count: widths[$0] - cells[$0].count) + cells[$0] }
            let target = line.target.map { " -> \(printable($0))" } ?? ""
            return columns.joined(separator: " ") + " \(printable(line.name))\(target)"
        }.joined(separator: "\n")
    }

    /// All but the name.
    private var cells: [String] {
        func cell(_ value: (some CustomStringConvertible)?) -> String { value?.description ?? "?" }
        return [
            "\(inode)", mode ?? "?", cell(links), cell(user), cell(group), cell(size),
            modified?.formatted(.iso8601.dateTimeSeparator(.space)) ?? "?",
        ]
    }

    private static func mode(of file: GuestFile) -> String {
        let bits = file.mode
        var text = [file.kind.letter]
        for shift in [6, 3, 0] {
            let part = bits >> UInt16(shift)
            text += [part & 4 != 0 ? "r" : "-", part & 2 != 0 ? "w" : "-", part & 1 != 0 ? "x" : "-"]
        }
        for (bit, place, letter): (UInt16, Int, String) in [(0o4000, 3, "s"), (0o2000, 6, "s"), (0o1000, 9, "t")]
        where bits & bit != 0 {
            text[place] = Character(text[place] == "x" ? letter : letter.uppercased())
        }
        return String(text)
    }
}
