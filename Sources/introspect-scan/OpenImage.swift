import ArgumentParser
import BlockStorage
import DiskImages
import Glibc

/// The image that a command works on.
struct OpenImage {
    let image: DiskImage
    let disk: VirtualDisk

    /// Opens the image at `path` with the `others` that belong to it, or says on standard error why one cannot be read
    /// and ends the command.
    init(_ path: String, with others: [String] = []) throws(ExitCode) {
        let first = try Self.identify(path)
        guard !others.isEmpty else {
            image = first
            disk = try Self.open(first)
            return
        }
        var images = [first]
        for other in others { images.append(try Self.identify(other)) }
        guard let joined = DiskImage(joining: images) else {
            complain("\(path): given twice, expected each image once")
            throw ExitStatus.unreadable
        }
        image = joined
        disk = try Self.open(joined)
    }

    private static func identify(_ path: String) throws(ExitCode) -> DiskImage {
        let image: DiskImage
        do throws(ImageError) {
            if let known = try DiskImage.identify(path: path) {
                image = known
            } else {
                image = try DiskImage.raw(path: path)
            }
        } catch {
            complain("\(error)")
            throw ExitStatus.unreadable
        }
        guard image.size > 0 else {
            complain("\(path): the image is empty, expected a disk")
            throw ExitStatus.unreadable
        }
        return image
    }

    private static func open(_ image: DiskImage) throws(ExitCode) -> VirtualDisk {
        do throws(StorageError) {
            return try VirtualDisk.open(image, access: .readOnly, mode: .buffered)
        } catch {
            complain("\(error)")
            throw ExitStatus.unreadable
        }
    }
}
