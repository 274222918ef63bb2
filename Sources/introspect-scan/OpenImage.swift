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

/// Prints a line about what went wrong.
func complain(_ message: String) {
    writeAll("introspect-scan: \(message)\n", to: STDERR_FILENO)
}

/// Prints the problems that were found; returns whether there were any.
func complain(about problems: [String]) -> Bool {
    problems.forEach(complain)
    return !problems.isEmpty
}

/// Writes text to a file descriptor; what cannot be written is lost.
func writeAll(_ text: String, to descriptor: Int32) {
    var text = text
    text.withUTF8 { bytes in
        var done = 0
        while done < bytes.count {
            let count = write(descriptor, bytes.baseAddress.map { $0 + done }, bytes.count - done)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return }
            done += count
        }
    }
}
