import CLinux
import Glibc

/// A loop device on a file.
public struct LoopDevice: Sendable {
    /// The device's path.
    public let path: String
    private let undo: Bed.Undo

    /// Sets one up; `isDirect` has requests pass the page cache on the way to the file.
    public init(
        on file: String, offset: Int = 0, size: Int? = nil, isDirect: Bool, bed: Bed
    ) throws(TestBedError) {
        var words = ["losetup", "--find", "--show", "--direct-io=\(isDirect ? "on" : "off")", "--offset", "\(offset)"]
        if let size { words += ["--sizelimit", "\(size)"] }
        let path = try Command(words + [file]).run().split(separator: "\n").first.map(String.init) ?? ""
        self.path = path
        undo = bed.register("detach \(path)") { () throws(TestBedError) in
            try run("losetup", "--detach", path)
        }
    }

    /// Throws when a file system on it is still mounted, if only in a copy of the mounts that a namespace has; waits a
    /// while for its end.
    public func checkIsUnused() throws(TestBedError) {
        for _ in 0..<50 {
            let descriptor = open(path, O_RDONLY | O_EXCL | O_CLOEXEC)
            guard descriptor < 0 else {
                close(descriptor)
                return
            }
            usleep(100_000)
        }
        throw TestBedError.lastSystemError("have \(path), which a namespace may still have mounted, alone")
    }

    /// Takes it away.
    public func detach() throws(TestBedError) {
        try undo()
    }
}

/// A mounted file system.
public struct Mount: Sendable {
    /// Where.
    public let directory: String
    private let undo: Bed.Undo

    /// Mounts `device` on `directory`, which exists.
    public init(
        _ device: String, on directory: String, type: String, options: String = "defaults", bed: Bed
    ) throws(TestBedError) {
        try run("mount", "-t", type, "-o", options, device, directory)
        self.directory = directory
        undo = bed.register("unmount \(directory)") { () throws(TestBedError) in
            try Self.unmount(directory)
        }
    }

    /// Unmounts it.
    public func unmount() throws(TestBedError) {
        try undo()
    }

    /// Tries for a while, since a process that has just ended may keep the mount busy for a moment.
    private static func unmount(_ directory: String) throws(TestBedError) {
        for _ in 0..<50 {
            if try Command(["umount", directory]).result().status == 0 { return }
            usleep(100_000)
        }
        try run("umount", directory)
    }
}

/// Has the kernel forget the clean pages, directory entries and inodes that it holds, after everything is written.
public func dropHostCaches() throws(TestBedError) {
    sync()
    try writeText("3\n", to: "/proc/sys/vm/drop_caches")
}

/// Keeps what this thread and those that it starts mount from now on to themselves: a copy of a mount in a namespace
/// that somebody makes meanwhile would keep the file system alive after it is unmounted here.
public func separateMounts() throws(TestBedError) {
    guard linux_unshare_mounts() == 0 else { throw TestBedError.lastSystemError("separate the mounts") }
}
