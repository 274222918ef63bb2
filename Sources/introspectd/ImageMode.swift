import ArgumentParser
import Datastore
import Glibc

/// What becomes of writes to some images, on the command line: `vm-*.vmdk=writeback`.
struct ImageMode: ExpressibleByArgument {
    private let pattern: String
    let mode: DatastoreConfiguration.TierMode

    init?(argument: String) {
        guard let end = argument.lastIndex(of: "="), end > argument.startIndex,
            let mode = DatastoreConfiguration.TierMode(rawValue: String(argument[argument.index(after: end)...]))
        else { return nil }
        pattern = String(argument[..<end])
        self.mode = mode
    }

    /// The pattern for whole paths.
    func pattern(in directory: String) -> String {
        guard !pattern.hasPrefix("/"), let resolved = realpath(directory, nil) else { return pattern }
        defer { free(resolved) }
        return "\(String(cString: resolved))/\(pattern)"
    }
}
