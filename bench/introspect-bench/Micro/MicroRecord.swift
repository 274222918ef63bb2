import Foundation
import TestBed

/// One measurement as it stands in a file of the results: one cell, one server, one round.
struct MicroRecord: Codable {
    /// Who was measured.
    enum Server: String, Codable, CaseIterable {
        /// introspectd with introspection.
        case ours
        /// introspectd without.
        case off
        /// NFS-Ganesha.
        case ganesha
        /// No server: pwrite and fdatasync on the same file system.
        case local

        /// For people.
        var title: String {
            switch self {
            case .ours: "introspectd"
            case .off: "introspectd, introspection off"
            case .ganesha: "NFS-Ganesha"
            case .local: "pwrite + fdatasync"
            }
        }
    }

    let cell: LoadCell
    let server: Server
    let round: Int
    let result: LoadResult
    let environment: RunEnvironment
    /// When it was measured, as ISO 8601.
    let date: String

    /// Where the records stand in a directory of results.
    static func directory(in results: String) -> String { "\(results)/micro" }

    /// The file of a measurement.
    static func path(_ cell: LoadCell, _ server: Server, round: Int, in results: String) -> String {
        "\(directory(in: results))/\(cell.name).\(server.rawValue).\(round).json"
    }

    /// Whether this was measured before in the same environment.
    static func isKept(
        _ cell: LoadCell, _ server: Server, round: Int, environment: RunEnvironment, in results: String
    ) -> Bool {
        let path = path(cell, server, round: round, in: results)
        guard let document = try? Data(contentsOf: URL(fileURLWithPath: path)) else { return false }
        return (try? JSONDecoder().decode(Self.self, from: document))?.environment == environment
    }

    /// Writes the record to its file; an interruption leaves no half of one.
    func write(in results: String) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        let path = Self.path(cell, server, round: round, in: results)
        try encoder.encode(self).write(to: URL(fileURLWithPath: path), options: .atomic)
    }

    /// All records in a directory of results, in no order; none when there is no such directory.
    static func all(in results: String) throws -> [MicroRecord] {
        let directory = directory(in: results)
        guard FileManager.default.fileExists(atPath: directory) else { return [] }
        return try FileManager.default.contentsOfDirectory(atPath: directory)
            .filter { $0.hasSuffix(".json") }
            .map {
                try JSONDecoder().decode(Self.self, from: Data(contentsOf: URL(fileURLWithPath: "\(directory)/\($0)")))
            }
    }
}
