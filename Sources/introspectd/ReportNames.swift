/// What an image's files in the report are called: by its path in the export, `/` as `%2F` and `%` as `%25`, so that two
/// images of one name in two directories have files of their own.
struct ReportNames {
    /// With an ending, what Linux takes for a name.
    private static let longest = 240

    /// The exports' directories.
    let exports: [String]

    /// The name for the image at `path`, which is number `number` of the report.
    func name(of path: String, number: Int) -> String {
        let bytes = Array(path.utf8)
        let starts = exports.map { Array(($0.hasSuffix("/") ? $0 : $0 + "/").utf8) }
        let inExport = bytes.dropFirst(starts.filter { bytes.starts(with: $0) }.map(\.count).max() ?? 0)
        let name = inExport.flatMap { byte -> [UInt8] in
            switch byte {
            case UInt8(ascii: "/"): Array("%2F".utf8)
            case UInt8(ascii: "%"): Array("%25".utf8)
            default: [byte]
            }
        }
        guard name.count > Self.longest else { return String(decoding: name, as: UTF8.self) }
        // The end tells more. A number that no other image has keeps it apart.
        return "\(number)%%" + String(decoding: name.suffix(Self.longest - 20), as: UTF8.self)
    }
}
