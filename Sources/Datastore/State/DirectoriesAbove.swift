import CLinux
import Glibc

/// The directories above an export: by the way it was opened, and in its own file system, where a bind mount has others
/// above it than the directory that it shows.
struct DirectoriesAbove {
    private struct Mount {
        let id: [UInt8]
        let device: [UInt8]
        /// The directory of the file system that is mounted, and where.
        let root: [ArraySlice<UInt8>]
        let place: [ArraySlice<UInt8>]
    }

    /// The directories, open for reading, each once; whoever takes them closes them. Without those that the server may
    /// not open.
    private(set) var descriptors: [Int32] = []
    /// Whether the way to the root of the export's file system was found; a bind mount alone does not show it.
    private(set) var reachesRoot = false

    private var seen: Set<[UInt64]> = []
    private static let btrfs: Int64 = 0x9123_683E
    private static let btrfsSubvolumeRoot: UInt64 = 256

    init(_ export: ExportRoot) {
        addAbove(export.descriptor, mostSteps: .max)
        guard let path = OwnedDescriptor.path(of: export.descriptor),
            let information = ProcessFile.read("/proc/self/mountinfo"),
            let id = Self.mountID(of: export.descriptor)
        else { return }
        let mounts = information.split(separator: UInt8(ascii: "\n")).compactMap(Self.mount)
        let names = path.split(separator: UInt8(ascii: "/"))
        guard let own = mounts.last(where: { $0.id == id }), names.starts(with: own.place) else { return }
        let location = own.root + names.dropFirst(own.place.count)
        reachesRoot = location.isEmpty || isSubvolumeRoot(export.descriptor)
        // A mount that shows more of the file system shows all that a lesser one does.
        let ways = mounts.filter {
            $0.device == own.device && location.starts(with: $0.root) && $0.root.count < location.count
        }
        for way in ways.sorted(by: { $0.root.count < $1.root.count }) {
            let rest = location.dropFirst(way.root.count)
            guard let found = Self.open(way.place + rest, as: export) else { continue }
            defer { close(found) }
            addAbove(found, mostSteps: rest.count)
            if way.root.isEmpty { reachesRoot = true }
            break
        }
    }

    /// Adds the directories above an open one, at most so many.
    private mutating func addAbove(_ directory: Int32, mostSteps: Int) {
        var current = openat(directory, ".", linux_o_path | O_DIRECTORY | O_CLOEXEC)
        defer { if current >= 0 { close(current) } }
        var steps = 0
        while current >= 0, steps < mostSteps {
            let parent = openat(current, "..", linux_o_path | O_DIRECTORY | O_CLOEXEC)
            var (one, other) = (stat(), stat())
            let isRoot =
                parent < 0 || fstat(current, &one) != 0 || fstat(parent, &other) != 0
                || one.st_dev == other.st_dev && one.st_ino == other.st_ino
            close(current)
            current = parent
            if isRoot { break }
            steps += 1
            if isSubvolumeRoot(parent) { reachesRoot = true }
            guard seen.insert([UInt64(other.st_dev), UInt64(other.st_ino)]).inserted else { continue }
            // What the server may not open, it cannot mark; another that serves it may have more rights.
            let readable = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
            if readable >= 0 { descriptors.append(readable) }
        }
    }

    /// What is above a subvolume is another file system to clients, and to `mountinfo` a part of this one.
    private func isSubvolumeRoot(_ directory: Int32) -> Bool {
        var status = stat()
        return fstat(directory, &status) == 0 && UInt64(status.st_ino) == Self.btrfsSubvolumeRoot
            && linux_file_system_type(directory) == Self.btrfs
    }

    /// Opens a path if it leads to the export's directory: another mount may hide it.
    private static func open(_ names: [ArraySlice<UInt8>], as export: ExportRoot) -> Int32? {
        let path = "/" + names.map { String(decoding: $0, as: UTF8.self) }.joined(separator: "/")
        let descriptor = Glibc.open(path, linux_o_path | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        var status = stat()
        guard fstat(descriptor, &status) == 0, UInt64(status.st_dev) == export.device,
            UInt64(status.st_ino) == export.inode
        else {
            close(descriptor)
            return nil
        }
        return descriptor
    }

    private static func mountID(of descriptor: Int32) -> [UInt8]? {
        let lines = ProcessFile.read("/proc/self/fdinfo/\(descriptor)")?.split(separator: UInt8(ascii: "\n"))
        let line = lines?.first { $0.starts(with: "mnt_id:".utf8) }
        return line.map { Array($0.dropFirst(7).drop { $0 == UInt8(ascii: "\t") || $0 == UInt8(ascii: " ") }) }
    }

    /// A line of `/proc/self/mountinfo`: "36 35 98:0 /root/in/the/file/system /place ..." (proc(5)).
    private static func mount(_ line: ArraySlice<UInt8>) -> Mount? {
        let words = line.split(separator: UInt8(ascii: " "), maxSplits: 5)
        guard words.count == 6 else { return nil }
        let paths = words[3...4].map { unescaped($0).split(separator: UInt8(ascii: "/")) }
        return Mount(id: Array(words[0]), device: Array(words[2]), root: paths[0], place: paths[1])
    }

    /// Bytes that would part words are written as a backslash and three octal digits.
    private static func unescaped(_ word: ArraySlice<UInt8>) -> [UInt8] {
        var (bytes, rest) = ([UInt8](), word)
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "\\"), let code = UInt8(String(decoding: rest.prefix(3), as: UTF8.self), radix: 8) {
                bytes.append(code)
                rest = rest.dropFirst(3)
            } else {
                bytes.append(byte)
            }
        }
        return bytes
    }
}
