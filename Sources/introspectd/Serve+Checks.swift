import ArgumentParser
import BlockStorage
import Console
import Datastore
import Glibc
import Logging

/// What of a command line cannot be meant as it is, in words that say what to do.
extension Serve {
    /// An option that cannot be followed here, found out when the server knows what it serves.
    struct OptionError: Error, CustomStringConvertible {
        let description: String
    }

    /// Of what is not UTF-8 another name is left by now.
    func checkArgumentsAreText() throws {
        for argument in (1..<max(1, Int(CommandLine.argc))).compactMap({ CommandLine.unsafeArgv[$0] }) {
            let bytes = ByteString(UnsafeRawBufferPointer(start: argument, count: strlen(argument)))
            guard bytes.text == nil else { continue }
            throw ValidationError("\(bytes): is not UTF-8, expected a name that is")
        }
    }

    func checkSSDOptions() throws {
        guard !ssd.isEmpty || (ssdMode == nil && imageModes.isEmpty) else {
            throw ValidationError("--ssd-mode and --ssd-mode-for: --ssd names no directory")
        }
        guard !ssd.isEmpty || (ssdSize == nil && ssdClasses == nil) else {
            throw ValidationError("--ssd-size and --ssd-classes: --ssd names no directory")
        }
        guard ssd.isEmpty || ssdMode != nil || !imageModes.isEmpty else {
            throw ValidationError(
                "--ssd: say with --ssd-mode what the log is for: writeback, writethrough, or off to empty one")
        }
        guard !ssdMirror || ssd.count > 1 else {
            throw ValidationError("--ssd-mirror: expected --ssd at least twice")
        }
        let least = DatastoreConfiguration.Tier.smallestSize * (ssdMirror ? 1 : max(1, ssd.count))
        if let ssdSize, ssdSize.bytes < least {
            throw ValidationError(
                "--ssd-size \(ssdSize): expected at least \(ByteSize(bytes: least)) for \(ssd.count) directories")
        }
        for (index, directory) in ssd.enumerated() {
            if let other = ssd[..<index].first(where: { isSame($0, directory) }) {
                throw ValidationError("--ssd \(other) and --ssd \(directory): this is the same directory twice")
            }
        }
    }

    /// Where the server listens unless it is told: on IPv6 as well when a client may come from there.
    var defaultHost: String {
        if allow.isEmpty { return "127.0.0.1" }
        return allow.contains { $0.description.contains(":") } ? "::" : "0.0.0.0"
    }

    /// The server starts without its log, so that images that do not need it are served.
    func logMissingLogDirectories(_ logger: Logger) {
        for directory in ssd where !isDirectory(directory) {
            logger.error("--ssd \(directory): there is no such directory; is its device mounted?")
        }
    }

    func logIgnoredSize(_ datastore: Datastore, _ logger: Logger) {
        guard let ssdSize else { return }
        let size = datastore.tierStatus().size
        // The log takes whole records of what it is given.
        let slack = (8 << 20) * ssd.count
        guard size > 0, abs(size - ssdSize.bytes) > slack else { return }
        logger.warning(
            """
            --ssd-size \(ssdSize) is ignored: the log is there already, of \(formatted(bytes: size)). To have another \
            size, stop the server after a drain, remove the log's files, and start again
            """)
    }

    /// Refuses a place that clients could get at: they would swap a directory for a link, and the server would write
    /// where that leads. Directories that do not exist yet count by the one in which they will be made.
    func checkIsOutside(_ exports: [Export], _ option: String, _ path: String?) throws(OptionError) {
        guard var place = path.map(absolute) else { return }
        while true {
            if let resolved = realpath(place, nil) {
                defer { free(resolved) }
                place = String(cString: resolved)
                break
            }
            var status = stat()
            let (parent, name) = split(place)
            guard lstat(place, &status) != 0, name != ".." else {
                throw OptionError(description: "\(option) \(path ?? ""): \(place) leads nowhere")
            }
            place = parent
        }
        while true {
            if let export = exports.first(where: { isSame($0.path, place) }) {
                throw OptionError(
                    description: "\(option) \(path ?? ""): lies in \(export.path), where clients can replace it; "
                        + "expected a place outside of what is served")
            }
            guard place != "/" else { return }
            place = split(place).parent
        }
    }

    func isDirectory(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    private func isSame(_ one: String, _ other: String) -> Bool {
        var (first, second) = (stat(), stat())
        guard stat(one, &first) == 0, stat(other, &second) == 0 else { return one == other }
        return first.st_dev == second.st_dev && first.st_ino == second.st_ino
    }

    private func absolute(_ path: String) -> String {
        guard !path.hasPrefix("/"), let directory = getcwd(nil, 0) else { return path }
        defer { free(directory) }
        return "\(String(cString: directory))/\(path)"
    }

    private func split(_ path: String) -> (parent: String, name: String) {
        let parts = path.split(separator: "/")
        return ("/" + parts.dropLast().joined(separator: "/"), parts.last.map(String.init) ?? "")
    }
}
