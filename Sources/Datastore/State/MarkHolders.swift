import BlockStorage
import Glibc

/// Whose marks stand on a directory, as far as this process may look into others (proc(5)).
///
/// Anybody who may read a directory can mark it. A server is whoever has, besides, a state directory's lock: a file that
/// is locked, named ``ServerLocks/fileName`` and closed to all but the process's own user; and that user must be one who
/// could change the export. A program that root runs for somebody, with what he had open, has no such file.
struct MarkHolders {
    /// The process of a server; nil when none was found.
    private(set) var server: String?
    /// A process that is none; nil when none was found.
    private(set) var stranger: String?

    /// Looks for those who have marked the open directory `descriptor`, but not by that descriptor, with one of `marks`
    /// for the sake of `export`.
    init(of descriptor: Int32, _ marks: ClosedRange<Int64>, export: stat) {
        guard let mine = Locks(of: descriptor, in: "/proc/self").directory else { return }
        for process in Self.numbers(in: "/proc") {
            let place = "/proc/\(process)"
            let descriptors = Self.numbers(in: "\(place)/fd").filter { process != getpid() || $0 != descriptor }
            let hasMarked = descriptors.contains { other in
                // The device is the superblock's, the same for all subvolumes of a btrfs, whose inode numbers repeat.
                Locks(of: other, in: place).marks.contains { $0.file == mine && marks.overlaps($0.bytes) }
                    && Self.isSame("\(place)/fd/\(other)", descriptor)
            }
            guard hasMarked, let user = ProcessUser(of: place) else { continue }
            let name = "process \(process) (\(Self.command(of: place)))"
            if user.mayWrite(export), descriptors.contains(where: { Self.isStateLock($0, in: place, of: user.id) }) {
                server = name
                return
            }
            stranger = "\(name) of user \(user.id)"
        }
    }

    private static func isSame(_ path: String, _ descriptor: Int32) -> Bool {
        var (one, other) = (stat(), stat())
        return stat(path, &one) == 0 && fstat(descriptor, &other) == 0 && one.st_dev == other.st_dev
            && one.st_ino == other.st_ino
    }

    private static func isStateLock(_ descriptor: Int32, in place: String, of user: uid_t) -> Bool {
        let path = "\(place)/fd/\(descriptor)"
        var name = [CChar](repeating: 0, count: Int(PATH_MAX) + 1)
        var status = stat()
        guard Locks(of: descriptor, in: place).isExclusive, readlink(path, &name, name.count - 1) > 0 else {
            return false
        }
        let file = String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return ["", " (deleted)"].contains { file.hasSuffix("/\(ServerLocks.fileName)\($0)") }
            && stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG && status.st_mode & 0o077 == 0
            && status.st_uid == user
    }

    /// What the process was started as, in one line.
    private static func command(of place: String) -> String {
        let words = (ProcessFile.read("\(place)/cmdline") ?? []).split(separator: 0)
        return String(ByteString(words.joined(separator: [UInt8(ascii: " ")])).description.prefix(200))
    }

    /// The entries of a directory that are numbers.
    private static func numbers(in path: String) -> [Int32] {
        guard let directory = opendir(path) else { return [] }
        defer { closedir(directory) }
        var numbers: [Int32] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 1) { String(cString: $0) }
            }
            if let number = Int32(name) { numbers.append(number) }
        }
        return numbers
    }
}

/// The locks that a process has by one of its descriptors.
private struct Locks {
    /// Bytes that are locked for reading, and of which file: device and inode as the kernel prints them.
    var marks: [(file: Substring, bytes: ClosedRange<Int64>)] = []
    /// Whether the whole file is locked by flock(2) against all others.
    var isExclusive = false

    /// The file that is marked.
    var directory: Substring? { marks.first?.file }

    init(of descriptor: Int32, in place: String) {
        let text = String(decoding: ProcessFile.read("\(place)/fdinfo/\(descriptor)") ?? [], as: UTF8.self)
        for line in text.split(separator: "\n") where line.hasPrefix("lock:") {
            // lock: 1: OFDLCK ADVISORY READ -1 fe:00:253853 1 1
            let words = line.split { $0 == " " || $0 == "\t" }
            guard words.count == 9 else { continue }
            if words[2] == "FLOCK", words[4] == "WRITE" { isExclusive = true }
            let last = words[8] == "EOF" ? Int64.max : Int64(words[8])
            guard words[2] == "OFDLCK", let first = Int64(words[7]), let last, first <= last else { continue }
            marks.append((words[6], first...last))
        }
    }
}

/// With whose rights a process acts.
private struct ProcessUser {
    let id: uid_t
    let groups: [gid_t]

    init?(of place: String) {
        let text = String(decoding: ProcessFile.read("\(place)/status") ?? [], as: UTF8.self)
        /// The effective one is the second of real, effective, saved and file system's.
        func numbers(_ name: String) -> [UInt32] {
            let line = text.split(separator: "\n").first { $0.hasPrefix(name) }
            return line?.dropFirst(name.count).split { $0 == " " || $0 == "\t" }.compactMap { UInt32($0) } ?? []
        }
        let (users, ownGroups) = (numbers("Uid:"), numbers("Gid:"))
        guard users.count == 4, ownGroups.count == 4 else { return nil }
        id = users[1]
        groups = [ownGroups[1]] + numbers("Groups:")
    }

    /// Whether the user could change what is in a directory, or is the one who asks.
    func mayWrite(_ directory: stat) -> Bool {
        if id == 0 || id == geteuid() || id == directory.st_uid || directory.st_mode & S_IWOTH != 0 { return true }
        return groups.contains(directory.st_gid) && directory.st_mode & S_IWGRP != 0
    }
}

/// Files that the kernel writes as they are read.
enum ProcessFile {
    private static let mostBytes = 16 << 20

    /// The bytes of a file; nil when it cannot be read.
    static func read(_ path: String) -> [UInt8]? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 4096)
        while bytes.count < mostBytes {
            let count = Glibc.read(descriptor, &part, part.count)
            guard count > 0 else { break }
            bytes += part[..<count]
        }
        return bytes
    }
}
