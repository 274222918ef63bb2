import BlockStorage
import DiskImages
import Glibc
import Introspection

/// The file of a saved map for an image of an export: `DIRECTORY/PATH.map`, `PATH` being the image's in its export.
struct SavedMapFile: Sendable {
    /// Where the map is, if there is one.
    let path: String

    /// The map of `image` under the directory `maps`; nil when the image is not in the export.
    init?(of image: DiskImage, in root: ExportRoot, maps: String) {
        let export = ByteString(root.export.path).description
        let prefix = export.hasSuffix("/") ? export : export + "/"
        guard image.path.hasPrefix(prefix) else { return nil }
        path = "\(maps)/\(image.path.dropFirst(prefix.count)).map"
    }

    /// The map; nil when there is none.
    func read() throws(SavedMapError) -> SavedMap? {
        let device: FileDevice
        // Opening a fifo would wait for who writes to it, and opening a device may do anything.
        var status = stat()
        guard lstat(path, &status) != 0 || status.st_mode & S_IFMT == S_IFREG else {
            throw SavedMapError("\(path): is no regular file")
        }
        do throws(StorageError) {
            device = try FileDevice(path: path, access: .readOnly, mode: .buffered)
        } catch {
            if error.code == .system(ENOENT) { return nil }
            throw SavedMapError("\(error)")
        }
        return try SavedMap(from: device)
    }

    /// What the image's files are now. Throws when the newest blocks of one are not in it.
    func stamps(of files: [OpenFile]) throws(SavedMapError) -> [SavedMap.FileStamp] {
        var stamps: [SavedMap.FileStamp] = []
        for file in files {
            guard let stamp = SavedMap.FileStamp(descriptor: file.descriptor.rawValue) else {
                throw SavedMapError("\(file.path): \(String(cString: strerror(errno)))")
            }
            guard file.redirects?.hasRedirect(ByteRange(offset: 0, length: stamp.size)) != true else {
                throw SavedMapError("\(file.path): the newest of its blocks are in the log on the fast device")
            }
            stamps.append(stamp)
        }
        return stamps
    }
}
