import BlockStorage
import Glibc

/// Whose marks stand on a directory, as far as this process may look into others (proc(5)).
///
/// Anybody who may read a directory can mark it, and keep it marked in ways that no process shows. No two servers may miss
/// each other, and no stranger may keep one from starting. So it depends on who has a mark what it counts for:
///
/// | the mark is of | then |
/// |---|---|
/// | a process that could take images away and has a file named ``ServerLocks/fileName`` open | this is a server: refused |
/// | one that could, without such a file, which every server has, locked or not | none, such as a program that root runs for somebody with what he had open: warned of |
/// | one that could not, whatever it has open: it could harm its own user's files alone | none: warned of |
/// | nobody, though every process that could was looked into: it is on its way through a socket, or the like | none: warned of |
/// | perhaps one that could and cannot be looked into, whoever else has one, too | refused, unless an administrator has said that there is no other server |
///
/// Who could take images away is whoever may remove others' names from the export, or from the marked directory above it:
/// he gains nothing by keeping a server from them. In a directory like `/tmp` (sticky) one may add names, and no more. Both
/// the user that a process acts as and the one that it was started by must be such: root, this process's own, the
/// directory's owner, whoever may write to a directory that is not sticky, by mode or list, and a process with root's power
/// over files. Standard input, output and error do not count: a program that becomes root for somebody, and asks him for
/// a password first, has those of his making, and no server has anything there.
///
/// Every process is looked into by one in the kernel's first namespaces that may look into all. Those that could do no
/// harm are looked into last, for the sake of a message, and not for long: they may have made that take as long as they
/// like.
struct MarkHolders {
    /// The process of a server; nil when none was found.
    private(set) var server: String?
    /// A process that is none; nil when none was found.
    private(set) var stranger: String?
    /// Whether every process was looked into.
    private(set) var areAllSeen = Self.seesAllProcesses

    private let descriptor: Int32
    private let marks: ClosedRange<Int64>

    /// Looks for those who have marked the open directory `descriptor`, but not by that descriptor, with one of `marks`
    /// for the sake of the open directory `export`.
    ///
    /// - Parameter end: until when those are looked for who are no servers.
    init(
        of descriptor: Int32, _ marks: ClosedRange<Int64>, export: Int32, _ impersonation: Impersonation,
        strangersUntil end: ContinuousClock.Instant
    ) {
        (self.descriptor, self.marks) = (descriptor, marks)
        guard let mine = OpenDescriptor(descriptor, in: "/proc/self")?.file else {
            areAllSeen = false
            return
        }
        var others: [(process: Int32, user: ProcessUser)] = []
        // The first process of all starts others and is no server; not even root may look into it everywhere.
        for process in Self.numbers(in: "/proc") ?? [] where process != 1 {
            guard let user = ProcessUser(of: "/proc/\(process)") else {
                noteUnseen()
                continue
            }
            if [export, descriptor].contains(where: { user.mayTakeNames(from: $0, impersonation) }),
                isServer(process, with: mine)
            {
                server = Self.name(of: process)
                return
            }
            others.append((process, user))
        }
        let found = others.first { other in
            end > .now && search(for: mine, other.process, descriptors(of: other.process) ?? [], until: end).hasMark
        }
        stranger = found.map { "\(Self.name(of: $0.process)) of user \($0.user.real)" }
    }

    /// Whether a process that could take images away has marked the directory, which the kernel calls `file`, and has what
    /// every server has.
    private mutating func isServer(_ process: Int32, with file: Substring) -> Bool {
        guard let descriptors = descriptors(of: process)?.filter({ $0 > STDERR_FILENO }) else {
            noteUnseen()
            return false
        }
        let search = search(for: file, process, descriptors)
        areAllSeen = areAllSeen && search.isWhole
        return search.hasMark && descriptors.contains { isServersFile("/proc/\(process)/fd/\($0)") }
    }

    /// What a process has open, but for this search's own descriptor; nil and `errno` when that cannot be read.
    private func descriptors(of process: Int32) -> [Int32]? {
        Self.numbers(in: "/proc/\(process)/fd")?.filter { process != getpid() || $0 != descriptor }
    }

    /// Whether a process has marked the directory, which the kernel calls `file`, by one of `descriptors`, and whether all
    /// up to that could be looked into.
    private func search(
        for file: Substring, _ process: Int32, _ descriptors: [Int32], until end: ContinuousClock.Instant? = nil
    ) -> (hasMark: Bool, isWhole: Bool) {
        let place = "/proc/\(process)"
        var isWhole = true
        for other in descriptors {
            if let end, end < .now { return (false, false) }
            guard let found = OpenDescriptor(other, in: place) else {
                isWhole = isWhole && Self.isGone
                continue
            }
            // The device is the superblock's, the same for all subvolumes of a btrfs, whose inode numbers repeat.
            guard found.marks.contains(where: { $0.file == file && marks.overlaps($0.bytes) }) else { continue }
            switch isSame("\(place)/fd/\(other)", descriptor) {
            case true?: return (true, isWhole)
            case false?: continue
            case nil: isWhole = isWhole && Self.isGone
            }
        }
        return (false, isWhole)
    }

    /// Whether `/proc` has every process of this machine, and this one may look into all.
    static var seesAllProcesses: Bool {
        Capabilities.ofThread().has(.lookIntoProcesses) && link("/proc/self") == "\(getpid())"
            // The numbers of the first namespaces are the kernel's (PROC_PID_INIT_INO, PROC_USER_INIT_INO).
            && link("/proc/self/ns/pid") == "pid:[4026531836]" && link("/proc/self/ns/user") == "user:[4026531837]"
    }

    /// Whether what could not be read, `errno` says why, has ended: that has no marks any more. A security module may hide
    /// others.
    private static var isGone: Bool { errno == ENOENT || errno == ESRCH }

    private mutating func noteUnseen() { areAllSeen = areAllSeen && Self.isGone }

    /// Whether what stands at `path` is what `descriptor` has open; nil and `errno` when that cannot be told.
    private func isSame(_ path: String, _ descriptor: Int32) -> Bool? {
        var (one, other) = (stat(), stat())
        guard stat(path, &one) == 0, fstat(descriptor, &other) == 0 else { return nil }
        return one.st_dev == other.st_dev && one.st_ino == other.st_ino
    }

    /// Whether an open file has the name of the file in its state directory that every server has open.
    private mutating func isServersFile(_ path: String) -> Bool {
        guard let file = Self.link(path) else {
            noteUnseen()
            return false
        }
        var status = stat()
        guard stat(path, &status) != 0 || status.st_mode & S_IFMT == S_IFREG else { return false }
        return ["", " (deleted)"].contains { file.hasSuffix("/\(ServerLocks.fileName)\($0)") }
    }

    /// Where a link leads; nil when it is none, or may not be read.
    static func link(_ path: String) -> String? {
        var name = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = readlink(path, &name, name.count)
        return count < 0 ? nil : String(decoding: name[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Its number, and what it was started as, in one line.
    private static func name(of process: Int32) -> String {
        let words = (ProcessFile.read("/proc/\(process)/cmdline") ?? []).split(separator: 0)
        let command = ByteString(words.joined(separator: [UInt8(ascii: " ")])).description.prefix(200)
        return "process \(process) (\(command))"
    }

    /// The entries of a directory that are numbers; nil and `errno` when it cannot be read.
    private static func numbers(in path: String) -> [Int32]? {
        guard let directory = opendir(path) else { return nil }
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
private struct OpenDescriptor {
    /// Bytes that are locked, and of which file: device and inode as the kernel prints them.
    var marks: [(file: Substring, bytes: ClosedRange<Int64>)] = []

    /// The file that is marked.
    var file: Substring? { marks.first?.file }

    /// A server has one lock by each of its descriptors; others may have them by the million.
    private static let longestInfo = 4096

    /// Nil and `errno` when they cannot be read.
    init?(_ descriptor: Int32, in place: String) {
        guard let bytes = ProcessFile.read("\(place)/fdinfo/\(descriptor)", upTo: Self.longestInfo) else { return nil }
        let text = String(decoding: bytes, as: UTF8.self)
        for line in text.split(separator: "\n") where line.hasPrefix("lock:") {
            // lock: 1: OFDLCK ADVISORY READ -1 fe:00:253853 1 1
            let words = line.split { $0 == " " || $0 == "\t" }
            guard words.count == 9 else { continue }
            let last = words[8] == "EOF" ? Int64.max : Int64(words[8])
            guard words[2] == "OFDLCK", let first = Int64(words[7]), let last, first <= last else { continue }
            marks.append((words[6], first...last))
        }
    }
}

/// Files that the kernel writes as they are read.
enum ProcessFile {
    /// The first `limit` bytes of a file, or a few more; nil when it cannot be read.
    static func read(_ path: String, upTo limit: Int = 16 << 20) -> [UInt8]? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 4096)
        while bytes.count < limit {
            let count = Glibc.read(descriptor, &part, part.count)
            guard count > 0 else { break }
            bytes += part[..<count]
        }
        return bytes
    }
}
