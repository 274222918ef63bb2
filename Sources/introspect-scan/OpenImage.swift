import BlockStorage
import DiskImages

/// The image that a command works on.
struct OpenImage {
    let image: DiskImage
    let disk: VirtualDisk

    /// Opens the image at `path` with the `others` that belong to it.
    init(_ path: String, with others: [String] = []) throws(Refusal) {
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
        let image: DiskImage
        do throws(ImageError) {
            if let known = try DiskImage.identify(path: path) {
                image = known
            } else {
                image = try DiskImage.raw(path: path)
            }
        } catch {
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
            throw Refusal("\(error)")
        }
    }
}
