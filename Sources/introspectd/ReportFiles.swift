import BlockStorage
import Datastore
import Foundation

/// Writes the server's report: `statistics.json`, and for each image `PATH.runs`, named as ``ReportNames`` says, with
/// lines `OFFSET LENGTH CLASS -`, as `introspect-scan runs` prints them. On request `PATH.files` as well, which tells of guests' files: lines
/// `VOLUME INODE OFFSET LENGTH` of their contents on the disk, and `VOLUME INODE PATH` for each name of each.
struct ReportFiles {
    let directory: String
    var namesFiles = false

    func write(_ datastore: Datastore) throws {
        let folder = URL(fileURLWithPath: directory, isDirectory: true)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let names = ReportNames(exports: datastore.exports.map(\.path))
        var number = 0
        datastore.forEachClassMap { path, runs in
            let lines = runs.map { "\($0.offset) \($0.length) \($1.name) -\n" }.joined()
            number += 1
            let name = names.name(of: path, number: number) + ".runs"
            try? Data(lines.utf8).write(to: folder.appendingPathComponent(name), options: .atomic)
        }
        if namesFiles {
            number = 0
            datastore.forEachObjectIndex { path, introspector, reader in
                var lines = ""
                introspector.forEachContents(reader) { volume, inode, range in
                    lines += "\(volume) \(inode) \(range.offset) \(range.length)\n"
                }
                introspector.forEachName(reader) { volume, inode, path in
                    lines += "\(volume) \(inode) \(path.map { "\($0)" } ?? "?")\n"
                }
                number += 1
                let name = names.name(of: path, number: number) + ".files"
                try? Data(lines.utf8).write(to: folder.appendingPathComponent(name), options: .atomic)
            }
        }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        // Last, so that whoever waits for it finds the others complete.
        try encoder.encode(datastore.report())
            .write(to: folder.appendingPathComponent("statistics.json"), options: .atomic)
    }
}
