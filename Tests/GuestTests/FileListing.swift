import BlockStorage
import Foundation

/// Which inode's contents are where on a disk, and all names of all inodes.
struct FileListing {
    private struct Name: Decodable {
        var inode: Int
        var name: String
    }

    /// Bytes of the disk, in order, each range as long as can be.
    private var contents: [(range: Range<Int>, inode: Int)] = []
    /// Each with the inode before it.
    private var names: Set<String> = []

    var nameCount: Int { names.count }

    /// What the server's report says of an image with one file system: lines `VOLUME INODE OFFSET LENGTH` and `VOLUME
    /// INODE PATH`.
    init(report: String) throws {
        for line in report.split(separator: "\n") {
            let fields = line.split(separator: " ", maxSplits: 3)
            if fields.count == 4, let inode = Int(fields[1]), let offset = Int(fields[2]), let length = Int(fields[3]) {
                contents.append((offset..<offset + length, inode))
            } else if fields.count >= 3 {
                names.insert(fields[1...].joined(separator: " "))
            } else {
                throw ClassRuns.Malformed(line: String(line))
            }
        }
        join()
    }

    /// What a scan says: the output of `introspect-scan runs`, and of `introspect-scan ls --recursive --json`.
    init(runs: String, names json: String) throws {
        for line in runs.split(separator: "\n") {
            let fields = line.split(separator: " ")
            guard fields.count == 4, fields[2] == "data", let inode = Int(fields[3]) else { continue }
            guard let offset = Int(fields[0]), let length = Int(fields[1]) else {
                throw ClassRuns.Malformed(line: String(line))
            }
            contents.append((offset..<offset + length, inode))
        }
        join()
        names = Set(
            try JSONDecoder().decode([Name].self, from: Data(json.utf8)).map { name in
                "\(name.inode) /\(ByteString(name.name))"
            })
    }

    private mutating func join() {
        contents.sort { $0.range.lowerBound < $1.range.lowerBound }
        var joined: [(range: Range<Int>, inode: Int)] = []
        for run in contents {
            if let last = joined.last, last.inode == run.inode, last.range.upperBound == run.range.lowerBound {
                joined[joined.count - 1].range = last.range.lowerBound..<run.range.upperBound
            } else {
                joined.append(run)
            }
        }
        contents = joined
    }

    /// The first few places and names that only one of the two has.
    func differences(from other: FileListing) -> [String] {
        let here = Set(contents.map { "inode \($0.inode) at \($0.range)" }).union(names)
        let there = Set(other.contents.map { "inode \($0.inode) at \($0.range)" }).union(other.names)
        return here.subtracting(there).sorted().prefix(5).map { "only here: \($0)" }
            + there.subtracting(here).sorted().prefix(5).map { "only there: \($0)" }
    }
}
