import Glibc

/// A directory that goes with the bed, and everything in it.
public struct TemporaryDirectory: Sendable {
    /// Its absolute path.
    public let path: String

    /// Makes one where the machine keeps temporary files.
    public init(on bed: Bed) throws(TestBedError) {
        let parent = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
        var template = Array("\(parent)/introspect.XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw TestBedError.lastSystemError("mkdtemp in \(parent)") }
        let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        self.path = path
        bed.register("remove \(path)") { () throws(TestBedError) in
            // Never across a mount that could not be undone.
            try run("rm", "-rf", "--one-file-system", path)
        }
    }

    /// The path of `name` in the directory.
    public func file(_ name: String) -> String { "\(path)/\(name)" }

    /// Makes a directory in it and returns its path.
    public func makeDirectory(_ name: String) throws(TestBedError) -> String {
        guard mkdir(file(name), 0o755) == 0 else { throw TestBedError.lastSystemError("mkdir \(file(name))") }
        return file(name)
    }

    /// Writes a file in it and returns its path.
    @discardableResult
    public func write(_ text: String, to name: String, mode: mode_t = 0o644) throws(TestBedError) -> String {
        try writeText(text, to: file(name))
        chmod(file(name), mode)
        return file(name)
    }
}

/// The whole of a file as text; files of /proc too, whose size is not known before.
public func readText(of path: String) throws(TestBedError) -> String {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw TestBedError.lastSystemError("open \(path)") }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65536)
    while true {
        let count = read(descriptor, &buffer, buffer.count)
        guard count >= 0 else { throw TestBedError.lastSystemError("read \(path)") }
        guard count > 0 else { return String(decoding: bytes, as: UTF8.self) }
        bytes += buffer[..<count]
    }
}

/// Replaces what is in the file at `path`, which is made when it does not exist.
public func writeText(_ text: String, to path: String) throws(TestBedError) {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { throw TestBedError.lastSystemError("open \(path)") }
    defer { close(descriptor) }
    var text = text
    let count = text.withUTF8 { Glibc.write(descriptor, $0.baseAddress, $0.count) }
    guard count == text.utf8.count else { throw TestBedError.lastSystemError("write \(path)") }
}

/// The executables of this package.
public enum Executable {
    /// The path of `name`: in the directory that `INTROSPECT_BIN` names, or beside the running program.
    public static func path(of name: String) throws(TestBedError) -> String {
        var directory = getenv("INTROSPECT_BIN").map { String(cString: $0) }
        if directory == nil, let own = realpath("/proc/self/exe", nil) {
            defer { free(own) }
            directory = String(cString: own).split(separator: "/").dropLast().reduce("") { $0 + "/" + $1 }
        }
        let path = (directory ?? ".") + "/" + name
        guard access(path, X_OK) == 0 else { throw TestBedError.lastSystemError("look for \(path)") }
        return path
    }
}

/// Writes a line to standard output at once, so that whoever follows it sees progress.
public func say(_ line: String) {
    writeLine(line, to: 1)
}

/// Writes a line to standard error.
public func tell(_ line: String) {
    writeLine(line, to: 2)
}

private func writeLine(_ line: String, to descriptor: Int32) {
    var line = line + "\n"
    _ = line.withUTF8 { Glibc.write(descriptor, $0.baseAddress, $0.count) }
}

/// The absolute path of `directory`, which is made when it is not there: guests and virtual machines have other working
/// directories than this program.
public func absolutePath(making directory: String) throws(TestBedError) -> String {
    try run("mkdir", "-p", directory)
    guard let path = realpath(directory, nil) else { throw TestBedError.lastSystemError("find \(directory)") }
    defer { free(path) }
    return String(cString: path)
}
