import BlockStorage
import Glibc
import Tiering

/// What a datastore serves and how.
public struct DatastoreConfiguration: Sendable {
    /// A directory to serve.
    public struct Export: Sendable {
        /// The directory.
        public var path: String
        /// Whether clients may change nothing.
        public var isReadOnly: Bool
        /// Whether user 0 and group 0 of clients count as nobody.
        public var squashesRoot: Bool
        /// Who may mount it.
        public var allowedClients: [AddressRange]

        /// Serves `path`, read-write and to this machine unless told otherwise.
        public init(
            path: String, isReadOnly: Bool = false, squashesRoot: Bool = false,
            allowedClients: [AddressRange] = AddressRange.loopback
        ) {
            self.path = path
            self.isReadOnly = isReadOnly
            self.squashesRoot = squashesRoot
            self.allowedClients = allowedClients
        }
    }

    /// How file handles find their files again.
    public enum HandleScheme: Sendable, CaseIterable {
        /// The kernel's handles where the file system has them and the process may open them, else the other.
        case automatic
        /// Inode number and birth time, found through a table of paths and a walk of the export.
        case inodeTable
    }

    /// What becomes of writes that the fast device could take.
    public enum TierMode: String, Sendable, CaseIterable {
        /// The device takes none, and what it holds is moved to the images.
        case off
        /// The device and the image take them, before the answer.
        case writethrough
        /// The device takes them, and the image gets them later.
        case writeback
    }

    /// A fast device for the writes that guests wait for.
    public struct Tier: Sendable {
        /// The least bytes of a log on each device.
        public static let smallestSize = LogFile.smallestSize

        /// The directories, each on a device of its own.
        public var directories: [String]
        /// Whether each device has everything; else the log is spread over all, and needs every one of them.
        public var isMirrored = false
        /// What becomes of writes to images that `modes` says nothing of.
        public var mode: TierMode
        /// What becomes of writes to single images, or to those of single exports: the first entry counts whose pattern,
        /// as of a shell but with `*` matching slashes too, matches the path of the image's file.
        public var modes: [(pattern: String, mode: TierMode)] = []
        /// The classes of blocks whose writes the device takes.
        public var classes: RedirectClasses
        /// The size of the log in bytes, when it is made; of a mirrored one that on each device.
        public var size: Int
        /// How long a clean stop moves blocks to their images; the rest stays in the log.
        public var drainTimeout: Duration
        /// Opens the log of a directory, or makes one of that size, unless there is none.
        var openDevice: @Sendable (String, Int?) throws(StorageError) -> any BlockDevice = {
            (directory, size) throws(StorageError) in try LogFile(directory: directory, size: size)
        }
        /// Opens the file of an image by a path, to move blocks to it; the second is what errors call it.
        var openImage = openFile
        static let openFile: @Sendable (String, String) throws(StorageError) -> any BlockDevice = {
            (path, name) throws(StorageError) in
            try FileDevice(path: path, access: .readWrite, mode: .buffered, name: name)
        }

        /// A tier in `directories`.
        public init(
            directories: [String], mode: TierMode, classes: RedirectClasses = .metadata, size: Int = 1 << 30,
            drainTimeout: Duration = .seconds(60)
        ) {
            self.directories = directories
            self.mode = mode
            self.classes = classes
            self.size = size
            self.drainTimeout = drainTimeout
        }

        /// Whether no image's writes are taken.
        var takesNothing: Bool { ([mode] + modes.map(\.mode)).allSatisfy { $0 == .off } }

        /// What becomes of writes to the file at `path`.
        func mode(of path: String) -> TierMode {
            modes.first { fnmatch($0.pattern, path, 0) == 0 }?.mode ?? mode
        }
    }

    /// The directories to serve.
    public var exports: [Export]
    /// Where the handle key is kept; nil for the default place, see ``StateDirectory``.
    public var stateDirectory: String?
    /// How file handles find their files again.
    public var handleScheme = HandleScheme.automatic
    /// How long a call waits for a search of the whole export for its file, where handles are inode numbers.
    var searchPatience = Duration.milliseconds(100)
    /// What opening the file with an inode number by its handle fails with; nil when it does not. A disk with errors says
    /// ESTALE, too.
    var openFailure: (@Sendable (_ inode: UInt64) -> Int32?)?
    /// How often open files are looked after, in seconds.
    var lookInterval = 0.5
    /// Whether to serve exports that are marked as another server's by who cannot be seen from here; see ``MarkHolders``.
    public var ignoresUnseenMarks = false
    /// Whether the server looks into disk images.
    public var introspects = true
    /// Where maps of images lie that `introspect-scan export` saved, under the images' paths in their export with
    /// `.map` after them; nil to scan every image.
    public var mapsDirectory: String?
    /// The memory for cached blocks, in bytes.
    public var cacheSize = 256 << 20
    /// The least that makes sense of it.
    public static let smallestCacheSize = PageCache.minimumByteCount
    /// The fast device, if there is one.
    public var tier: Tier?

    /// The state directory where none is named.
    public static func defaultStateDirectory() throws(DatastoreError) -> String { try StateDirectory.defaultPath() }

    /// Serves `exports`.
    public init(exports: [Export], stateDirectory: String? = nil) {
        self.exports = exports
        self.stateDirectory = stateDirectory
    }
}
