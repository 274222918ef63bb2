import BlockStorage
import Glibc
import Tiering

/// Which log counts, and which images may have their newest blocks in it: known without the log, so that they can be
/// refused when it is missing, and that a log whose blocks have been overtaken is never read again.
///
/// Lines of text: `log` and the identity of the log in hexadecimal; `void` and the identity of one that does not count
/// any more; `image`, an image's identity, its file system (``ExportRoot/fileSystemMark``) and the path that it had, or
/// `quarantined` with the same. An image stands there durably before its first redirect is acknowledged in `writeback`
/// mode; in `writethrough` mode the images have everything themselves. It is quarantined when somebody else has changed
/// it, until an administrator says whose bytes count. `stopped`, an image's identity, its size, and seconds and
/// nanoseconds of its time of change: how an image looked when the server stopped that still had blocks in the log.
final class RedirectRegister: Sendable {
    static let fileName = "redirected-images"
    /// Of the logs that do not count any more the last so many are remembered.
    private static let mostVoidLogs = 64

    /// What changes when somebody writes to a file.
    struct Contents: Equatable {
        let size: UInt64
        let modificationTime: FileTime
    }

    private struct Entry {
        let path: String
        let mark: String
        var isQuarantined = false
    }

    private struct Content {
        var log: UInt128?
        var voidLogs: [UInt128] = []
        var images: [ImageIdentity: Entry] = [:]
        var stopped: [ImageIdentity: Contents] = [:]
    }

    private let state: StateDirectory
    private let content: Locked<Content>

    /// Reads the register of `state`.
    init(in state: StateDirectory) throws(DatastoreError) {
        self.state = state
        var content = Content()
        let bytes = try state.read(name: Self.fileName) ?? []
        for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") {
            let words = line.split(separator: " ", maxSplits: 3, omittingEmptySubsequences: false)
            switch words.first {
            case "log" where words.count == 2 && UInt128(words[1], radix: 16) != nil:
                content.log = UInt128(words[1], radix: 16)
            case "void" where words.count == 2 && UInt128(words[1], radix: 16) != nil:
                content.voidLogs += [UInt128(words[1], radix: 16) ?? 0]
            case "image" where words.count == 4 && ImageIdentity(hexadecimal: words[1]) != nil,
                "quarantined" where words.count == 4 && ImageIdentity(hexadecimal: words[1]) != nil:
                guard let image = ImageIdentity(hexadecimal: words[1]) else { continue }
                content.images[image] = Entry(
                    path: String(words[3]), mark: String(words[2]), isQuarantined: words[0] == "quarantined")
            case "stopped" where words.count == 4 && ImageIdentity(hexadecimal: words[1]) != nil:
                guard let image = ImageIdentity(hexadecimal: words[1]) else { continue }
                content.stopped[image] = Contents(size: words[2], time: words[3])
            default:
                let words = "log, void, image, quarantined or stopped"
                throw DatastoreError(
                    .serverFault, "\(state.path)/\(Self.fileName): expected \(words), and an identity: \(line)")
            }
        }
        self.content = Locked(content)
    }

    /// The file's path.
    var path: String { "\(state.path)/\(Self.fileName)" }

    /// The images and their paths.
    var entries: [ImageIdentity: String] { content.withLock { $0.images.mapValues(\.path) } }

    /// The mark of the file system that an image was in; nil when the image has all blocks itself.
    func mark(of image: ImageIdentity) -> String? { content.withLock { $0.images[image]?.mark } }

    /// The log that counts.
    var log: UInt128? { content.withLock { $0.log } }

    /// Whether a log does not count any more.
    func isVoid(_ log: UInt128) -> Bool { content.withLock { $0.voidLogs.contains(log) } }

    /// Whether an image may have its newest blocks in the log.
    func contains(_ image: ImageIdentity) -> Bool { content.withLock { $0.images[image] != nil } }

    /// Enters an image durably, if it is new; unless `log` counts no more, which will not take its blocks then.
    func enter(_ image: ImageIdentity, path: String, mark: String, for log: UInt128) throws(DatastoreError) {
        guard !contains(image) else { return }
        try change { content in
            guard content.log == log else { return }
            content.images[image] = Entry(path: path, mark: mark)
        }
    }

    /// Whether somebody else has changed an image that needs the log, and nobody has said whose bytes count.
    func isQuarantined(_ image: ImageIdentity) -> Bool { content.withLock { $0.images[image]?.isQuarantined == true } }

    /// Puts an image that needs the log into quarantine, or takes it out, durably; of others nothing is noted.
    func setQuarantined(_ isQuarantined: Bool, _ image: ImageIdentity) throws(DatastoreError) {
        guard contains(image), self.isQuarantined(image) != isQuarantined else { return }
        try change { $0.images[image]?.isQuarantined = isQuarantined }
    }

    /// How the images looked that had blocks in the log when the server stopped.
    var stopped: [ImageIdentity: Contents] { content.withLock { $0.stopped } }

    /// Notes durably how images look while the server does not run, or that it does.
    func setStopped(_ stopped: [ImageIdentity: Contents]) throws(DatastoreError) {
        guard self.stopped != stopped else { return }
        try change { $0.stopped = stopped }
    }

    /// Lets `log` count, durably.
    func use(_ log: UInt128) throws(DatastoreError) {
        guard self.log != log else { return }
        try change { $0.log = log }
    }

    /// Forgets all images, durably: the log is empty.
    func clear() throws(DatastoreError) {
        guard !entries.isEmpty else { return }
        try change { $0.images.removeAll() }
    }

    /// The log does not count any more, durably, and no image needs it: it is empty, its blocks are in the images, or
    /// they are given up.
    func retire() throws(DatastoreError) {
        guard log != nil || !entries.isEmpty else { return }
        try change { content in
            content.images.removeAll()
            guard let log = content.log else { return }
            content.voidLogs = content.voidLogs.suffix(Self.mostVoidLogs - 1) + [log]
            content.log = nil
        }
    }

    private func change(_ body: (inout Content) -> Void) throws(DatastoreError) {
        let result: Result<Void, DatastoreError> = content.withLock { content in
            var changed = content
            body(&changed)
            var lines = changed.images.map { image, entry in
                let word = entry.isQuarantined ? "quarantined" : "image"
                return "\(word) \(image.hexadecimal) \(entry.mark) \(entry.path.filter { $0 != "\n" })\n"
            }
            lines += changed.stopped.map { "stopped \($0.hexadecimal) \($1.words)\n" }
            lines.sort()
            lines += changed.voidLogs.map { "void \(String($0, radix: 16))\n" }
            if let log = changed.log { lines.append("log \(String(log, radix: 16))\n") }
            do throws(DatastoreError) {
                try state.replace(Self.fileName, with: Array(lines.joined().utf8))
                content = changed
                return .success(())
            } catch {
                return .failure(error)
            }
        }
        try result.get()
    }
}

extension RedirectRegister.Contents {
    fileprivate init?(size: Substring, time: Substring) {
        let numbers = time.split(separator: " ").compactMap { Int64($0) }
        guard let size = UInt64(size), numbers.count == 2, let nanoseconds = UInt32(exactly: numbers[1]) else {
            return nil
        }
        self.init(size: size, modificationTime: FileTime(seconds: numbers[0], nanoseconds: nanoseconds))
    }

    fileprivate var words: String { "\(size) \(modificationTime.seconds) \(modificationTime.nanoseconds)" }
}
