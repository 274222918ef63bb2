import BlockStorage
import CLinux
import Glibc
import Tiering

/// What is known of the log apart from its devices, so that an older copy of them is not taken for it: how far it was, and
/// which files it was in.
///
/// Lines: `log`, its identity in hexadecimal and its generation, never more than what the devices have; `file`, its path,
/// inode number, and seconds and nanoseconds of its birth.
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
    var files: [[UInt8]: FileMark] = [:]

    mutating func take(_ line: RegisterForm.Line) -> String? {
        switch line.text(0) {
        case "log" where line.words.count == 3 && identity == nil:
            identity = UInt128(line.text(1), radix: 16)
            guard identity != nil, let generation = UInt64(line.text(2)) else { return "an identity and a generation" }
            self.generation = generation
            return nil
        case "file" where line.words.count == 5:
            guard let inode = UInt64(line.text(2)), let seconds = Int64(line.text(3)), let rest = Int64(line.text(4))
            else { return "a path, an inode number, seconds and nanoseconds" }
            files[line.words[1]] = FileMark(inode: inode, birth: [seconds, rest])
            return nil
        default: return "log or file, and what belongs to it"
        }
    }

    mutating func takeFirstVersion(_: [UInt8]) -> (line: Int, expected: String)? { (1, "introspect redirect-log") }

    var lines: [[[UInt8]]] {
        guard let identity else { return [] }
        let log = ["log", String(identity, radix: 16), "\(generation)"].map { Array($0.utf8) }
        let sorted = files.sorted { $0.key.lexicographicallyPrecedes($1.key) }
        return [log]
            + sorted.map { path, mark in
                let numbers = ["\(mark.inode)"] + mark.birth.map { "\($0)" }
                return [Array("file".utf8), path] + numbers.map { Array($0.utf8) }
            }
    }
}

extension RedirectRegister {
    /// Why the log on `devices` is not what it was when it was used last; nil when nothing says so.
    ///
    /// - Returns: for each device what is wrong with it; those of a mirror may differ.
    func mismatches(_ devices: [LogOpening.Device]) -> [String?] {
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

    /// Notes durably how far the log is, in the files at `paths`; what it has reached is on its devices already.
    func note(_ log: RedirectLog, in paths: [String]) throws(DatastoreError) {
        let generation = log.generation
        let marks = paths.map { path in (Array(path.utf8), LogNotes.FileMark(of: path)) }
        try notes.change { notes in
            notes.identity = log.identity
            notes.generation = generation
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
