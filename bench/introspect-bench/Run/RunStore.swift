import FoundationEssentials
import Glibc
import TestBed

/// The directory of results: one JSON file a run, so that an interrupted benchmark goes on where it was.
struct RunStore {
    /// What the name of a watched run has in place of its round.
    static let watchedMark = "watched"

    let directory: String

    /// Opens the directory, which is made when it is not there.
    init(at directory: String) throws(TestBedError) {
        try run("mkdir", "-p", directory)
        self.directory = directory
    }

    /// The record of this measurement, if it was made before with the same parameters on the same machine.
    func record(_ identity: RunRecord.Identity, isWatched: Bool = false) -> RunRecord? {
        let name = path(of: identity, isWatched: isWatched)
        guard let record = Self.read(name), record.identity == identity else { return nil }
        return record
    }

    /// Keeps a record: the file is there whole or not at all.
    func keep(_ record: RunRecord) throws(TestBedError) {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        guard let document = try? encoder.encode(record) else { throw TestBedError("a result that JSON cannot hold") }
        let name = path(of: record.identity, isWatched: record.samples != nil)
        let new = name + ".new"
        do throws(TestBedError) {
            try writeText(String(decoding: document, as: UTF8.self) + "\n", to: new)
        } catch {
            unlink(new)
            throw TestBedError("cannot keep a result, those before are kept: \(error)")
        }
        guard rename(new, name) == 0 else { throw TestBedError.lastSystemError("rename \(new)") }
    }

    /// Every record in the directory, by name.
    func all() throws(TestBedError) -> [RunRecord] {
        try run("find", directory, "-maxdepth", "1", "-name", "*.json").split(separator: "\n").sorted()
            .compactMap { Self.read(String($0)) }
    }

    private func path(of identity: RunRecord.Identity, isWatched: Bool) -> String {
        let number = isWatched ? Self.watchedMark : "\(identity.round)"
        return "\(directory)/\(identity.measured).\(identity.server.rawValue).\(number).json"
    }

    private static func read(_ path: String) -> RunRecord? {
        guard let text = try? readText(of: path) else { return nil }
        return try? JSONDecoder().decode(RunRecord.self, from: Data(text.utf8))
    }
}
