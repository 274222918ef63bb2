import ArgumentParser
import BlockStorage
import DiskImages
import Glibc

/// The image that a command works on.
struct OpenImage {
    let image: DiskImage
    let disk: VirtualDisk

    /// Opens the image at `path`, or says on standard error why it cannot be read and ends the command.
    init(_ path: String) throws(ExitCode) {
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
        do throws(StorageError) {
            disk = try VirtualDisk.open(image, access: .readOnly, mode: .buffered)
        } catch {
            complain("\(error)")
            throw ExitStatus.unreadable
        }
    }
}
