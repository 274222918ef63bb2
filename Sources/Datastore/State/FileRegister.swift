import BlockStorage
import Glibc
import Tiering

/// Files that the next start must know of, however this one ends.
///
/// A line for each file, its identity in hexadecimal and the path that it had. A file stands there durably before
/// what the register is kept for happens to it, and all go when a clean stop has seen to them.
final class FileRegister: Sendable {
    private let name: String
    private let state: StateDirectory
    private let files: Locked<[ImageIdentity: String]>

    /// Reads the register `name` of `state`.
    init(_ name: String, in state: StateDirectory) throws(DatastoreError) {
        self.name = name
        self.state = state
        var files: [ImageIdentity: String] = [:]
        let bytes = try state.read(name: name) ?? []
        for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") {
            let parts = line.split(separator: " ", maxSplits: 1)
            guard let file = parts.first.flatMap({ ImageIdentity(hexadecimal: $0) }) else {
                throw DatastoreError(.serverFault, "\(state.path)/\(name): no file's identity: \(line)")
            }
            files[file] = parts.count > 1 ? String(parts[1]) : ""
        }
        self.files = Locked(files)
    }

    /// The file's path.
    var path: String { "\(state.path)/\(name)" }

    /// The files and their paths.
    var entries: [ImageIdentity: String] { files.withLock { $0 } }

    /// Enters a file durably, if it is new.
    func enter(_ file: ImageIdentity, path: String) throws(DatastoreError) {
        try change { $0.updateValue(path, forKey: file) == nil }
    }

    /// Forgets `done`, durably.
    func remove(_ done: some Sequence<ImageIdentity>) throws(DatastoreError) {
        try change { files in
            let before = files.count
            for file in done { files[file] = nil }
            return files.count != before
        }
    }

    private func change(_ body: (inout [ImageIdentity: String]) -> Bool) throws(DatastoreError) {
        let result: Result<Void, DatastoreError> = files.withLock { files in
            let before = files
            guard body(&files) else { return .success(()) }
            let lines = files.map { "\($0.key.hexadecimal) \($0.value.filter { $0 != "\n" })\n" }.sorted()
            do throws(DatastoreError) {
                try state.replace(name, with: Array(lines.joined().utf8))
                return .success(())
            } catch {
                files = before
                return .failure(error)
            }
        }
        try result.get()
    }
}

extension ImageIdentity {
    /// The bytes as text.
    var hexadecimal: String {
        bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
    }

    /// The identity that ``hexadecimal`` says.
    init?(hexadecimal text: some StringProtocol) {
        let digits = text.compactMap(\.hexDigitValue)
        guard digits.count == text.count, digits.count.isMultiple(of: 2) else { return nil }
        self.init(stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) })
    }
}
