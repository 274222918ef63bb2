import BlockStorage
import Tiering

/// Lines of the register: `log` and the identity of the log that counts, in hexadecimal; `void`, the identity of one that
/// does not count any more and, where it is known, its last epoch; `image`, an image's identity, its file system's mark
/// and the path that it had; of an image that has such a line `quarantined` and `removing` with its identity, and `stopped`, its identity, its size, and
/// seconds and nanoseconds of its time of change; `incomplete` when the log may have images that should stand here, with
/// `doubtful` when those are to be quarantined.
extension RedirectRegister.Content {
    mutating func take(_ line: RegisterForm.Line) -> String? {
        let count = line.words.count
        switch line.text(0) {
        case "log" where count == 2 && log == nil:
            log = UInt128(line.text(1), radix: 16)
            return log == nil ? "a log's identity" : nil
        case "void" where count == 2 || count == 3:
            let epoch = count == 3 ? UInt64(line.text(2)) : nil
            guard let log = UInt128(line.text(1), radix: 16), (epoch != nil) == (count == 3) else {
                return "a log's identity and an epoch"
            }
            voidLogs.append(.init(identity: log, epoch: epoch))
            return nil
        case "image" where count == 4:
            guard let image = ImageIdentity(hexadecimal: line.text(1)), images[image] == nil else {
                return "the identity of an image that has no other line"
            }
            images[image] = .init(path: ByteString(line.words[3]), mark: line.text(2))
            return nil
        case "quarantined" where count == 2:
            return takeNote(line) { $0.isQuarantined = true }
        case "removing" where count == 2:
            return takeNote(line) { $0.isBeingRemoved = true }
        case "stopped" where count == 5:
            guard let contents = RedirectRegister.Contents(line.words[2...].map { String(decoding: $0, as: UTF8.self) })
            else { return "a size, seconds and nanoseconds" }
            return takeNote(line) { $0.stopped = contents }
        case "incomplete" where count == 1 || count == 2 && line.text(1) == "doubtful":
            (mayLackImages, areLackingDoubtful) = (true, count == 2)
            return nil
        default:
            return "log, void, image, quarantined, removing, stopped or incomplete, and what belongs to it"
        }
    }

    private mutating func takeNote(
        _ line: RegisterForm.Line, _ body: (inout RedirectRegister.Entry) -> Void
    ) -> String? {
        guard let image = ImageIdentity(hexadecimal: line.text(1)), var entry = images[image] else {
            return "the identity of an image that has a line before this one"
        }
        body(&entry)
        images[image] = entry
        return nil
    }

    var lines: [[[UInt8]]] {
        var lines: [[[UInt8]]] = []
        for (image, entry) in images.map({ ($0.key.hexadecimal, $0.value) }).sorted(by: { $0.0 < $1.0 }) {
            lines.append(["image", image, entry.mark].map { Array($0.utf8) } + [entry.path.bytes])
            if entry.isQuarantined { lines.append(["quarantined", image].map { Array($0.utf8) }) }
            if entry.isBeingRemoved { lines.append(["removing", image].map { Array($0.utf8) }) }
            if let stopped = entry.stopped {
                lines.append((["stopped", image] + stopped.words).map { Array($0.utf8) })
            }
        }
        lines += voidLogs.map { log in
            (["void", String(log.identity, radix: 16)] + (log.epoch.map { ["\($0)"] } ?? [])).map { Array($0.utf8) }
        }
        if let log { lines.append(["log", String(log, radix: 16)].map { Array($0.utf8) }) }
        if mayLackImages {
            lines.append((areLackingDoubtful ? ["incomplete", "doubtful"] : ["incomplete"]).map { Array($0.utf8) })
        }
        return lines
    }

    /// The same lines in any order, with nothing escaped and the path to the line's end; `quarantined` instead of `image`.
    mutating func takeFirstVersion(_ bytes: [UInt8]) -> (line: Int, expected: String)? {
        var last: ImageIdentity?
        var stopped: [ImageIdentity: RedirectRegister.Contents] = [:]
        for (index, line) in bytes.split(separator: UInt8(ascii: "\n")).enumerated() {
            let words = line.split(separator: UInt8(ascii: " "), maxSplits: 3, omittingEmptySubsequences: false)
            let texts = words.map { String(decoding: $0, as: UTF8.self) }
            let image = texts.count == 4 ? ImageIdentity(hexadecimal: texts[1]) : nil
            let identity = texts.count == 2 ? UInt128(texts[1], radix: 16) : nil
            switch (texts[0], image, identity) {
            case ("log", _, let identity?): log = identity
            case ("void", _, let identity?): voidLogs.append(.init(identity: identity, epoch: nil))
            case ("image", let image?, _), ("quarantined", let image?, _):
                images[image] = .init(
                    path: ByteString(words[3]), mark: texts[2], isQuarantined: texts[0] == "quarantined")
                last = image
            case ("stopped", let image?, _):
                stopped[image] = .init([texts[2]] + texts[3].split(separator: " ").map(String.init))
            default:
                guard let last, let path = images[last]?.path, path.isBroken else {
                    return (index + 1, "log, void, image, quarantined or stopped, and an identity")
                }
                images[last]?.path = path.continued(by: line)
            }
        }
        for (image, contents) in stopped {
            images[image, default: .init(path: ByteString(""), mark: "")].stopped = contents
        }
        mayLackImages = log != nil
        return bytes.isEmpty ? (1, "log, void or image, and an identity") : nil
    }
}

extension RedirectRegister.Contents {
    /// From size, seconds and nanoseconds.
    fileprivate init?(_ words: [String]) {
        guard words.count == 3, let size = UInt64(words[0]), let seconds = Int64(words[1]),
            let nanoseconds = UInt32(words[2])
        else { return nil }
        self.init(size: size, modificationTime: FileTime(seconds: seconds, nanoseconds: nanoseconds))
    }

    fileprivate var words: [String] { ["\(size)", "\(modificationTime.seconds)", "\(modificationTime.nanoseconds)"] }
}
