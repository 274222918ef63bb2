import BlockStorage
import Glibc

extension DiskImage {
    /// The disk that the file at `path` is, taken as it is, whatever it holds.
    public static func raw(path: String) throws(ImageError) -> DiskImage {
        let file = try ImageFile(path: path)
        return try oneFile(format: .raw, path: path, size: file.size)
    }

    /// The image that the file at `path` is part of, going by name and content.
    ///
    /// Returns nil when neither says that it is one: then only the user knows whether it is a raw disk.
    public static func identify(path: String) throws(ImageError) -> DiskImage? {
        let file = try ImageFile(path: path)
        if path.hasSuffix("-flat.vmdk") {
            return try oneFile(format: .vmdkFlat, path: path, size: file.size)
        }
        return nil
    }

    private static func oneFile(format: ImageFormat, path: String, size: Int) throws(ImageError) -> DiskImage {
        let extents = size > 0 ? [ImageExtent(diskOffset: 0, length: size, source: .file(index: 0, offset: 0))] : []
        guard let image = DiskImage(format: format, files: [HostFile(path: path, role: .extent)], extents: extents)
        else { throw ImageError(.malformed, path: path, message: "not a run of bytes") }
        return image
    }
}
