import BlockStorage
import Tiering

/// Files that the next start must know of, however this one ends.
///
/// A file stands there durably, with the path that it had, before what the register is kept for happens to it, and all
/// go when a clean stop has seen to them. The path is for messages, and its end alone is kept: all are written with each
/// change.
final class FileRegister: Sendable {
    /// A line for each file: `file`, its identity in hexadecimal and its path.
    private struct Content: RegisterContent {
        private static let word = Array("file".utf8)

        var files: [ImageIdentity: ByteString] = [:]

        mutating func take(_ line: RegisterForm.Line) -> String? {
            guard line.words.count == 3, line.words[0] == Self.word, let file = ImageIdentity(hexadecimal: line.text(1))
            else { return "file, a file's identity and its path" }
            files[file] = ByteString(line.words[2])
            return nil
        }

        /// The identity and the path, with nothing escaped.
        mutating func takeFirstVersion(_ bytes: [UInt8]) -> (line: Int, expected: String)? {
            var last: ImageIdentity?
            for (index, line) in bytes.split(separator: UInt8(ascii: "\n")).enumerated() {
                let words = line.split(separator: UInt8(ascii: " "), maxSplits: 1, omittingEmptySubsequences: false)
                if let file = ImageIdentity(hexadecimal: String(decoding: words[0], as: UTF8.self)) {
                    files[file] = ByteString(words.count > 1 ? words[1] : [])
                    last = file
                } else if let last, let path = files[last], path.isBroken {
                    files[last] = path.continued(by: line)
                } else {
                    return (index + 1, "a file's identity and its path")
                }
            }
            return nil
        }

        var lines: [[[UInt8]]] {
            files.map { ($0.key.hexadecimal, $0.value) }.sorted { $0.0 < $1.0 }
                .map { [Self.word, Array($0.0.utf8), $0.1.bytes] }
        }
    }

    private let register: Register<Content>
    /// Files that are about to go, and count as gone; one that is entered again stays.
    private let leaving = Locked<Set<ImageIdentity>>([])

    /// Reads the register `name` of `state`; see ``Register``.
    init(_ name: String, in state: StateDirectory, mayBeOld: Bool) throws(DatastoreError) {
        register = try Register(name, in: state, mayBeOld: mayBeOld)
    }

    /// See ``Register/upgrade()``.
    func upgrade() throws(DatastoreError) { try register.upgrade() }

    /// The files and their paths.
    var entries: [ImageIdentity: ByteString] { register.current.files }

    /// The number of files.
    var count: Int { register.get { $0.files.count } }

    /// Whether a file is entered.
    func contains(_ file: ImageIdentity) -> Bool {
        register.get { $0.files[file] != nil } && !leaving.withLock { $0.contains(file) }
    }

    /// Enters a file durably, if it is new.
    ///
    /// - Parameter waits: whether to wait for another change that is under way.
    /// - Returns: false when there was one, and the file was not entered.
    @discardableResult
    func enter(_ file: ImageIdentity, path: ByteString, waits: Bool = true) throws(DatastoreError) -> Bool {
        try register.change(waits: waits) { content in
            leaving.withLock { _ = $0.remove(file) }
            if content.files[file] == nil { content.files[file] = path.endForMessages }
        }
    }

    /// Forgets, durably, those of `files` for which `settle` sees to it that nothing need be known of them any more.
    ///
    /// They count as gone from before that on: what happens to a file meanwhile either enters it again, and it stays, or does
    /// without.
    func remove(_ files: some Sequence<ImageIdentity>, settle: (ImageIdentity) -> Bool) throws(DatastoreError) {
        let entered = files.filter(contains)
        guard !entered.isEmpty else { return }
        leaving.withLock { $0.formUnion(entered) }
        // By then they are gone, or stay.
        defer { leaving.withLock { $0.subtract(entered) } }
        let settled = entered.filter(settle)
        try register.change { content in
            let gone = leaving.withLock { leaving in settled.filter(leaving.contains) }
            for file in gone { content.files[file] = nil }
        }
    }

    /// Forgets `done`, durably.
    func remove(_ done: some Sequence<ImageIdentity>) throws(DatastoreError) {
        try register.change { content in
            for file in done { content.files[file] = nil }
        }
    }
}

extension ByteString {
    /// What a register keeps of a path, in bytes: the longest name fits.
    private static let longestEnd = 256

    /// The path, or the end of it if it is long.
    var endForMessages: ByteString {
        bytes.count <= Self.longestEnd ? self : ByteString("...".utf8 + bytes.suffix(Self.longestEnd - 3))
    }

    /// Of a path that ``endForMessages`` has shortened what it kept; nil of a whole one.
    var shortenedEnd: ArraySlice<UInt8>? {
        bytes.count == Self.longestEnd && bytes.starts(with: "...".utf8) ? bytes.dropFirst(3) : nil
    }

    private static let carriageReturn = UInt8(ascii: "\r")

    /// Whether the first version of a register may have broken the path in two here: it took a line feed out of a path,
    /// but not one that came after a carriage return.
    var isBroken: Bool { bytes.last == Self.carriageReturn }

    func continued(by line: ArraySlice<UInt8>) -> ByteString {
        ByteString(bytes + [UInt8(ascii: "\n")] + line)
    }
}
