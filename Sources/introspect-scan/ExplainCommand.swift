import ArgumentParser
import Introspection

/// `introspect-scan explain`.
struct ExplainCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain",
        abstract: "Says what is at an offset of the disk, and which file it belongs to.")

    @OptionGroup var arguments: ImageArguments

    @Option(name: .long, help: "Bytes from the start of the virtual disk: 4096, 0x1000, 4K, 1M, 2G …")
    var offset: ByteOffset

    func run() throws {
        let (index, size) = try makeIndex(arguments)
        guard offset.bytes < size else {
            complain("\(arguments.image): offset \(offset.bytes) is not on the disk, which has \(size) bytes")
            throw ExitStatus.unreadable
        }
        let explanation = index.explain(offset: offset.bytes)
        if arguments.json {
            try printJSON(ExplanationLine(explanation))
        } else {
            print(Self.text(explanation))
        }
        if complain(about: index.problems) { throw ExitStatus.problems }
    }

    private static func text(_ explanation: Explanation) -> String {
        var rows = [
            ("offset", "\(explanation.offset) (0x\(String(explanation.offset, radix: 16)))"),
            ("class", explanation.blockClass.name),
        ]
        if let partition = explanation.partition { rows.append(("partition", "\(partition)")) }
        if let volume = explanation.volume { rows.append(("volume", volume)) }
        if let fileSystem = explanation.fileSystem { rows.append(("file system", fileSystem)) }
        if let block = explanation.block, let blockSize = explanation.blockSize {
            rows.append(("block", "\(block) of \(blockSize) bytes"))
        }
        if let group = explanation.group { rows.append(("group", "\(group)")) }
        if let inode = explanation.inode { rows.append(("inode", "\(inode)")) }
        if let path = explanation.path { rows.append(("path", path)) }
        if let fileOffset = explanation.fileOffset { rows.append(("in the file", "at byte \(fileOffset)")) }
        let width = rows.map(\.0.count).max() ?? 0
        return rows.map { $0 + String(repeating: " ", count: width - $0.count + 2) + $1 }.joined(separator: "\n")
    }
}

/// An explanation as JSON, with the class by name.
private struct ExplanationLine: Encodable {
    var offset: Int
    var `class`: String
    var partition: Int?
    var volume: String?
    var fileSystem: String?
    var block: UInt64?
    var blockSize: Int?
    var group: Int?
    var inode: UInt64?
    var path: String?
    var fileOffset: Int?

    init(_ explanation: Explanation) {
        offset = explanation.offset
        `class` = explanation.blockClass.name
        partition = explanation.partition
        volume = explanation.volume
        fileSystem = explanation.fileSystem
        block = explanation.block
        blockSize = explanation.blockSize
        group = explanation.group
        inode = explanation.inode
        path = explanation.path
        fileOffset = explanation.fileOffset
    }
}
