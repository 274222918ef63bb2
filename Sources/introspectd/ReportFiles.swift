import BlockStorage
import Datastore
import Foundation

/// Writes the server's report: `statistics.json`, and for each image `PATH.runs`, named as ``ReportNames`` says, with
/// lines `OFFSET LENGTH CLASS -`, as `introspect-scan runs` prints them. On request `PATH.files` as well, which tells of
/// guests' files: lines `VOLUME INODE OFFSET LENGTH` of their contents on the disk, and `VOLUME INODE PATH` for each name
/// of each. Only the server's user can read them.
struct ReportFiles {
    let directory: String
    var namesFiles = false

    func write(_ datastore: Datastore) throws {
        try PrivateFiles.makeDirectory(directory)
        let names = ReportNames(exports: datastore.exports.map(\.path))
        var number = 0
        datastore.forEachClassMap { path, runs in
            let lines = runs.map { "\($0.offset) \($0.length) \($1.name) -\n" }.joined()
            number += 1
            let name = names.name(of: path, number: number) + ".runs"
            try? PrivateFiles.write(Data(lines.utf8), to: "\(directory)/\(name)")
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
                try? PrivateFiles.write(Data(lines.utf8), to: "\(directory)/\(name)")
            }
        }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        // Last, so that whoever waits for it finds the others complete.
        try PrivateFiles.write(encoder.encode(datastore.report()), to: "\(directory)/statistics.json")
    }
}
