import BlockStorage
import DiskImages
import Glibc
import Introspection

/// The image that a command works on.
struct OpenImage {
    let image: DiskImage
    let disk: VirtualDisk
    let sectorSize: Int?

    /// What scans read it with.
    var reader: DeviceReader { DeviceReader(disk, sectorSize: sectorSize) }

    /// Opens the image at `path` with what its command line says of the disk.
    init(_ path: String, _ arguments: DiskArguments) throws(Refusal) {
        try self.init(path, with: arguments.images, sectorSize: arguments.sectors.bytes)
    }

    /// Opens the image at `path` with the `others` that belong to it.
    init(_ path: String, with others: [String] = [], sectorSize: Int? = nil) throws(Refusal) {
        self.sectorSize = sectorSize
        let first = try Self.identify(path)
        guard !others.isEmpty else {
            image = first
            disk = try Self.open(first)
            return
        }
        var images = [first]
        for other in others { images.append(try Self.identify(other)) }
        guard let joined = DiskImage(joining: images) else {
            throw Refusal("\(path): given twice, expected each image once")
        }
        image = joined
        disk = try Self.open(joined)
    }

    static func identify(_ path: String) throws(Refusal) -> DiskImage {
        try HostPaths.check(path)
        let image: DiskImage
        do throws(ImageError) {
            if let known = try DiskImage.identify(path: path) {
                image = known
            } else {
                image = try DiskImage.raw(path: path)
            }
        } catch {
            // "open" and the like tell the user nothing.
            if case .system(let number) = error.code {
                throw Refusal("\(error.path): \(String(cString: strerror(number)))")
            }
            throw Refusal("\(error)")
        }
        guard image.size > 0 else {
            throw Refusal("\(path): the image is empty, expected a disk")
        }
        return image
    }

    private static func open(_ image: DiskImage) throws(Refusal) -> VirtualDisk {
        do throws(StorageError) {
            return try VirtualDisk.open(image, access: .readOnly, mode: .buffered)
        } catch {
            if case .system(let number) = error.code {
                throw Refusal("\(error.device): \(String(cString: strerror(number)))")
            }
            throw Refusal("\(error)")
        }
    }
}
