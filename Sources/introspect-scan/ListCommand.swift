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
        discussion: """
            Inode, mode, links, owner, group, size, time of the last change (UTC) and name. What of a name is not UTF-8, or \
            would not be seen, is shown as its bytes, \\xHH, and a backslash twice; cat, ls and explain take names so. A \
            name that the guest has encrypted is shown as it is stored, and said to be so.
            """)

    @OptionGroup var arguments: ImageArguments

    @OptionGroup var file: FileChoice

    @Flag(name: .shortAndLong, help: "List all that is below the directory, with paths from there.")
    var recursive = false

    @OptionGroup var choice: VolumeChoice

    func run() throws {
        try withGuestFileSystem(arguments.image, arguments.disk, choice) { fileSystem in
            let file = try self.file.file(in: fileSystem)
            var lines: [Line] = []
            if file.kind == .directory {
                try list(file, fileSystem, &lines)
                lines.sort { $0.name < $1.name }
            } else {
                lines.append(Line(ByteString(escaped: self.file.description), file.number, fileSystem))
            }
            if arguments.json {
                try printJSON(lines)
            } else if !lines.isEmpty {
                try printLine(Line.text(lines))
            }
            if complain(about: lines.compactMap(\.problem).map { "\(arguments.image): \($0)" }) {
                throw ExitStatus.problems
            }
        }
    }

    /// Adds the names in `root` to `lines`, and those below it if they are wanted; of no directory twice, whatever the
    /// guest says.
    private func list(_ root: GuestFile, _ fileSystem: GuestFileSystem, _ lines: inout [Line]) throws(GuestFileError) {
        var visited: Set<UInt32> = []
        var directories: [(GuestFile, prefix: [UInt8])] = [(root, [])]
        while let (directory, prefix) = directories.popLast() {
            guard visited.insert(directory.number).inserted else { continue }
            for entry in try fileSystem.entries(of: directory) where entry.name != "." && entry.name != ".." {
                let name = prefix + entry.name.bytes
                var line = Line(ByteString(name), entry.inode, fileSystem)
                if entry.isEncrypted { line.nameIsEncrypted = true }
                lines.append(line)
                guard recursive, let file = try? fileSystem.file(inode: entry.inode), file.kind == .directory else {
                    continue
                }
                directories.append((file, name + "/".utf8))
            }
        }
    }
}

/// A name and the inode behind it.
private struct Line: Encodable {
    let name: ByteString
    var inode: UInt32
    var mode: String?
    var links: Int?
    var user: UInt32?
    var group: UInt32?
    var size: UInt64?
    /// In seconds since 1970.
    var modified: Int64?
    var target: ByteString?
    /// Whether the contents are encrypted, or what a link points to; nil for no.
    var isEncrypted: Bool?
    /// Whether the name is, which is shown as it is stored then; nil for no.
    var nameIsEncrypted: Bool?
    /// Why there is no more than the name.
    var problem: String?

    init(_ name: ByteString, _ inode: UInt32, _ fileSystem: GuestFileSystem) {
        self.name = name
        self.inode = inode
        do throws(GuestFileError) {
            let file = try fileSystem.file(inode: inode)
            mode = Self.mode(of: file)
            links = file.linkCount
            user = file.user
            group = file.group
            size = file.size
            modified = file.modificationTime
            if file.isEncrypted { isEncrypted = true }
            if file.kind == .symbolicLink, !file.isEncrypted { target = try fileSystem.target(of: file) }
        } catch {
            problem = "\(name): \(error)"
        }
    }

    static func text(_ lines: [Line]) -> String {
        let rows = lines.map(\.cells)
        let widths = (0..<7).map { column in rows.map { $0[column].count }.max() ?? 0 }
        return zip(lines, rows).map { line, cells in
            let columns = cells.indices.map { String(repeating: " ", count: widths[$0] - cells[$0].count) + cells[$0] }
            let target = line.target.map { " -> \($0)" } ?? ""
            let notes = [line.nameIsEncrypted.map { _ in "encrypted name" }, line.isEncrypted.map { _ in "encrypted" }]
            let note = notes.compactMap(\.self).first.map { " (\($0))" } ?? ""
            return columns.joined(separator: " ") + " \(line.name)\(target)\(note)"
        }.joined(separator: "\n")
    }

    /// All but the name.
    private var cells: [String] {
        func cell(_ value: (some CustomStringConvertible)?) -> String { value?.description ?? "?" }
        return [
            "\(inode)", mode ?? "?", cell(links), cell(user), cell(group), cell(size),
            modified.map {
                Date(timeIntervalSince1970: Double($0)).formatted(.iso8601.dateTimeSeparator(.space))
            } ?? "?",
        ]
    }

    private enum Key: String, CodingKey {
        case name, nameBytes, inode, mode, links, user, group, size, modified, target, targetBytes, encrypted
        case encryptedName, problem
    }

    func encode(to encoder: any Encoder) throws {
        var object = encoder.container(keyedBy: Key.self)
        try object.encode(name.json, forKey: .name)
        try object.encodeIfPresent(name.jsonBytes, forKey: .nameBytes)
        try object.encode(inode, forKey: .inode)
        try object.encodeIfPresent(mode, forKey: .mode)
        try object.encodeIfPresent(links, forKey: .links)
        try object.encodeIfPresent(user, forKey: .user)
        try object.encodeIfPresent(group, forKey: .group)
        try object.encodeIfPresent(size, forKey: .size)
        try object.encodeIfPresent(modified, forKey: .modified)
        try object.encodeIfPresent(target?.json, forKey: .target)
        try object.encodeIfPresent(target?.jsonBytes, forKey: .targetBytes)
        try object.encodeIfPresent(isEncrypted, forKey: .encrypted)
        try object.encodeIfPresent(nameIsEncrypted, forKey: .encryptedName)
        try object.encodeIfPresent(problem, forKey: .problem)
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
