import BlockStorage
import Glibc
import Logging
import Tiering

/// The datastore, for its tier, which is made first.
final class DatastoreReference: @unchecked Sendable {
    /// Set once, before the tier starts.
    weak var datastore: Datastore?
}

extension Datastore {
    /// Opens the tier, and tells which images cannot be served without it.
    ///
    /// A tier that cannot be opened ends the start only when no image depends on it: else the others are served.
    static func openTier(
        _ configuration: DatastoreConfiguration, _ state: StateDirectory, _ reference: DatastoreReference,
        _ logger: Logger
    ) throws(DatastoreError) -> (RedirectTier?, incomplete: Set<ImageIdentity>) {
        let register = try FileRegister("redirected-images", in: state)
        try checkTierDirectory(configuration)
        let cause: String
        if let tier = configuration.tier {
            let file = "\(tier.directory)/\(LogFile.fileName)"
            let exists = Glibc.access(file, F_OK) == 0
            if tier.mode == .off, !exists, register.entries.isEmpty { return (nil, []) }
            if !exists, !register.entries.isEmpty {
                cause = "\(file) is missing"
            } else {
                do throws(StorageError) {
                    let opened = try RedirectTier(
                        tier, register: register, logger: logger,
                        openImage: { (image) throws(StorageError) in try reference.datastore?.openForDestaging(image) },
                        yield: { reference.datastore?.files.background.yieldToClients() })
                    return (opened, [])
                } catch {
                    guard !register.entries.isEmpty else { throw DatastoreError(.serverFault, "\(error)") }
                    cause = "\(error)"
                }
            }
        } else {
            guard !register.entries.isEmpty else { return (nil, []) }
            cause = "no directory of a redirect log is named"
        }
        for path in register.entries.values.sorted() {
            logger.error(
                """
                \(path): refused, its newest blocks are in the redirect log, and \(cause); start with the log's \
                directory, or remove \(register.path) to serve the image as it was before them
                """)
        }
        return (nil, Set(register.entries.keys))
    }

    /// Throws when clients could reach the log.
    private static func checkTierDirectory(_ configuration: DatastoreConfiguration) throws(DatastoreError) {
        guard let directory = configuration.tier?.directory, let resolved = realpath(directory, nil) else { return }
        defer { free(resolved) }
        for export in configuration.exports {
            guard let root = realpath(export.path, nil) else { continue }
            defer { free(root) }
            guard path(String(cString: resolved), isIn: String(cString: root)) else { continue }
            throw DatastoreError(
                .invalidArgument, "\(directory): lies in the export \(export.path), whose clients could change the log")
        }
    }

    /// Throws when the newest blocks of a file are out of reach.
    func checkIsWhole(_ handle: FileHandle) throws(DatastoreError) {
        guard !incompleteImages.isEmpty, let image = ImageIdentity(handle), incompleteImages.contains(image) else {
            return
        }
        throw DatastoreError(.io, "the image's newest blocks are in a redirect log that is not at hand")
    }

    /// The device of an image for the destager.
    ///
    /// Throws when it cannot be opened, also when it is gone: that its file system is not mounted looks the same, and
    /// what the log has is kept. A file that clients remove takes its redirects with it at once.
    private func openForDestaging(_ image: ImageIdentity) throws(StorageError) -> (any BlockDevice)? {
        guard let handle = FileHandle(image.bytes) else { return nil }
        let file: OpenFile
        do throws(DatastoreError) {
            file = try openFile(handle)
        } catch {
            throw StorageError(.system(ESTALE), operation: "open for destaging: \(error.message)", device: "\(handle)")
        }
        return try DestagedFile(file)
    }
}

extension ImageIdentity {
    /// The identity of the file of `handle`: the handle, which stays the same as long as the file exists.
    init?(_ handle: FileHandle) {
        self.init(handle.withUnsafeBytes { Array($0) })
    }
}
