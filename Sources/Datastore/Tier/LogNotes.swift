import BlockStorage
import CLinux
import Glibc
import Tiering

/// What is known of the log apart from its devices, so that an older copy of them is not taken for it, nor an older copy of
/// the state directory for what belongs to it: how far it was, and which files it was in.
///
/// Lines: `log`, its identity in hexadecimal, its generation, never more than what the devices have, and the epoch of the
/// last start, never less; `away` when files were served without it since; `file`, its path, inode number, and seconds and
/// nanoseconds of its birth.
///
/// The generation grows with each start and each checkpoint. That all devices are as they were a moment ago, after the
/// same checkpoint and in the same files, cannot be seen.
struct LogNotes: RegisterContent {
    static let fileName = "redirect-log"

    /// What tells a file from a copy of it.
    struct FileMark: Equatable, Sendable {
        let inode: UInt64
        /// When it was made; zeros where the file system does not know.
        let birth: [Int64]

        /// The mark of the file at `path`; nil when there is none.
        init?(of path: String) {
            let file = open(path, linux_o_path | O_NOFOLLOW | O_CLOEXEC)
            guard file >= 0 else { return nil }
            defer { close(file) }
            var status = stat()
            guard fstat(file, &status) == 0 else { return nil }
            inode = UInt64(status.st_ino)
            var (seconds, nanoseconds): (Int64, UInt32) = (0, 0)
            birth = linux_birth_time(file, &seconds, &nanoseconds) == 0 ? [seconds, Int64(nanoseconds)] : [0, 0]
        }

        fileprivate init(inode: UInt64, birth: [Int64]) {
            self.inode = inode
            self.birth = birth
        }
    }

    var identity: UInt128?
    var generation: UInt64 = 0
    /// Nil when it is not known.
    var epoch: UInt64?
    var files: [[UInt8]: FileMark] = [:]
    /// Whether the log was not at hand, and files were served without it, since it was opened last.
    var wasAway = false

    mutating func take(_ line: RegisterForm.Line) -> String? {
        switch line.text(0) {
        case "log" where (3...4).contains(line.words.count) && identity == nil:
            identity = UInt128(line.text(1), radix: 16)
            epoch = line.words.count > 3 ? UInt64(line.text(3)) : nil
            guard identity != nil, let generation = UInt64(line.text(2)), epoch != nil || line.words.count == 3 else {
                return "an identity, a generation and an epoch"
            }
            self.generation = generation
            return nil
        case "file" where line.words.count == 5:
            guard let inode = UInt64(line.text(2)), let seconds = Int64(line.text(3)), let rest = Int64(line.text(4))
            else { return "a path, an inode number, seconds and nanoseconds" }
            files[LogFile.sameSpelling(of: line.words[1])] = FileMark(inode: inode, birth: [seconds, rest])
            return nil
        case "away" where line.words.count == 1:
            wasAway = true
            return nil
        default: return "log, away or file, and what belongs to it"
        }
    }

    mutating func takeFirstVersion(_: [UInt8]) -> (line: Int, expected: String)? { (1, "introspect redirect-log") }

    var lines: [[[UInt8]]] {
        guard let identity else { return [] }
        let log = (["log", String(identity, radix: 16), "\(generation)"] + (epoch.map { ["\($0)"] } ?? []))
            .map { Array($0.utf8) }
        let sorted = files.sorted { $0.key.lexicographicallyPrecedes($1.key) }
        return [log] + (wasAway ? [[Array("away".utf8)]] : [])
            + sorted.map { path, mark in
                let numbers = ["\(mark.inode)"] + mark.birth.map { "\($0)" }
                return [Array("file".utf8), path] + numbers.map { Array($0.utf8) }
            }
    }
}

extension RedirectRegister {
    /// The files that the log was in when it was used last.
    var notedPaths: [String] { notes.current.files.keys.map { String(decoding: $0, as: UTF8.self) }.sorted() }

    /// Why the log on `devices` is not what it was when it was used last; nil when nothing says so.
    ///
    /// - Returns: for each device what is wrong with it; those of a mirror may differ.
    func mismatches(_ devices: [LogOpening.File]) -> [String?] {
        let notes = notes.current
        return devices.map { device in
            guard let label = device.label, label.identity == notes.identity else { return nil }
            if label.generation < notes.generation {
                return "is an older copy, of generation \(label.generation); expected \(notes.generation)"
            }
            guard let known = notes.files[Array(device.path.utf8)], let found = LogNotes.FileMark(of: device.path),
                known != found
            else { return nil }
            return "is another file than before, of inode \(found.inode); expected \(known.inode) and its birth time"
        }
    }

    /// What the newest of `devices` says that belongs to the log that counts, and whether it is surely in the file that was
    /// noted; nil when there is none.
    private func newest(of devices: [LogOpening.File]) -> (label: LogLabel, isInSameFile: Bool)? {
        let notes = notes.current
        let members = devices.filter { $0.label?.identity == notes.identity && $0.label?.identity == log }
        guard let newest = members.compactMap(\.label).max(by: { $0.generation < $1.generation }) else { return nil }
        let isInSameFile = zip(members, mismatches(members)).contains { device, mismatch in
            device.label?.generation == newest.generation && mismatch == nil
                && notes.files[Array(device.path.utf8)] != nil
        }
        return (newest, isInSameFile)
    }

    /// Whether the log was opened since the state directory heard of it.
    func isOlder(than label: LogLabel) -> Bool { notes.current.epoch.map { $0 < label.epoch } ?? false }

    /// Notes durably whether images may need the log on `devices` that do not stand here: was it opened since the state
    /// directory heard of it, that is an older copy. Of a copy that was made since the last start nothing tells.
    ///
    /// In another file than was noted it may be one that an administrator has let go for another, and nobody knows what
    /// clients have written since; nor where files were served while it was not at hand. What stands in the log alone is
    /// doubtful then: neither dropped (invariant 1) nor laid over the files (invariant 3).
    ///
    /// - Returns: whether the state directory was found to be an older copy.
    func noteLacking(by devices: [LogOpening.File]) throws(DatastoreError) -> Bool {
        guard let (label, isInSameFile) = newest(of: devices) else { return false }
        let known = notes.current
        let isOld = isOlder(than: label)
        guard isOld || mayLackImages else { return false }
        try noteLacking(areDoubtful: known.wasAway || !isInSameFile)
        // An administrator who gives up a log that cannot be opened gives up this one.
        if isOld { try notes.change { $0.epoch = label.epoch } }
        return isOld
    }

    /// Notes durably that the log on `devices` is about to be opened, of which it begins a new epoch.
    func noteStart(of devices: [LogOpening.File]) throws(DatastoreError) {
        guard let (label, _) = newest(of: devices) else { return }
        // Where one side cannot be opened with the others, the next is tried by itself, and begins another.
        try notes.change { $0.epoch = label.generation + 1 + UInt64(devices.count) }
    }

    /// Notes durably that files are about to be served without the log. Where all are refused nobody writes to any.
    func noteAway() throws(DatastoreError) {
        guard !mayLackImages else { return }
        try notes.change { $0.wasAway = $0.identity != nil }
    }

    /// Notes durably how far the log is, in the files at `paths`; what it has reached is on its devices already.
    func note(_ log: RedirectLog, in paths: [String]) throws(DatastoreError) {
        let generation = log.generation
        let marks = paths.map { path in (Array(path.utf8), LogNotes.FileMark(of: path)) }
        try notes.change { notes in
            notes.identity = log.identity
            notes.generation = generation
            notes.epoch = log.epoch
            notes.wasAway = false
            notes.files = [:]
            for (path, mark) in marks { notes.files[path] = mark }
        }
    }

    /// Notes durably how far the log is, if it is farther.
    func note(_ log: RedirectLog) throws(DatastoreError) {
        let generation = log.generation
        let isFarther = notes.get { $0.identity == log.identity && $0.generation < generation }
        if isFarther { try notes.change { $0.generation = generation } }
    }
}
