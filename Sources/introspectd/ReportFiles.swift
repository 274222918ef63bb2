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
            number += 1
            let name = names.name(of: path, number: number) + ".runs"
            try? PrivateFiles.writeLines(to: "\(directory)/\(name)", limit: .max) { file in
                for (range, blockClass) in runs {
                    guard file.add("\(range.offset) \(range.length) \(blockClass.name) -\n") else { return }
                }
            }
        }
        if namesFiles { writeFiles(of: datastore, names) }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        // Last, so that whoever waits for it finds the others complete.
        try PrivateFiles.write(encoder.encode(datastore.report()), to: "\(directory)/statistics.json")
    }

    private func writeFiles(of datastore: Datastore, _ names: ReportNames) {
        var number = 0
        datastore.forEachObjectIndex { path, introspector, reader in
            number += 1
            let name = names.name(of: path, number: number) + ".files"
            // A line for each block of 4 KiB takes less than a fiftieth of what is stored.
            let limit = Self.leastRoom + reader.storedBytes / 50
            try? PrivateFiles.writeLines(to: "\(directory)/\(name)", limit: limit) { file in
                introspector.forEachContents(reader) { volume, inode, range in
                    !datastore.isAdministrationOver && file.add("\(volume) \(inode) \(range.offset) \(range.length)\n")
                }
                introspector.forEachName(reader) { volume, inode, path in
                    !datastore.isAdministrationOver && file.add("\(volume) \(inode) \(path.map { "\($0)" } ?? "?")\n")
                }
            }
        }
    }

    /// Bytes that a list of an image's files may take, whatever is stored of it.
    private static let leastRoom = 64 << 20
}
