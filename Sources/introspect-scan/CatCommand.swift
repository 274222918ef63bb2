import ArgumentParser
import Glibc
import Introspection

/// `introspect-scan cat`.
struct CatCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cat",
        abstract: "Writes the contents of a guest's file to standard output.",
        discussion: """
            Reads the image as it is: what a running guest holds back in its memory or journal is not there yet.
            """)

    @Argument(help: "The image.", completion: .file())
    var image: String

    @Argument(help: "A path in the guest's file system.")
    var path: String

    @OptionGroup var choice: VolumeChoice

    func run() throws {
        try withGuestFileSystem(image, choice) { fileSystem in
            let file = try fileSystem.file(at: path)
            guard file.kind == .regular else {
                complain("\(image): \(fileSystem.volume.name): \(path) is a \(file.kind.name), expected a regular file")
                throw ExitStatus.unreadable
            }
            try fileSystem.forEachPiece(of: file, writeToStandardOutput)
        }
    }

    private func writeToStandardOutput(_ bytes: UnsafeRawBufferPointer) throws(ExitCode) {
        var done = 0
        while done < bytes.count {
            let count = write(STDOUT_FILENO, bytes.baseAddress.map { $0 + done }, bytes.count - done)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else {
                complain("standard output: \(String(cString: strerror(errno)))")
                throw ExitStatus.unreadable
            }
            done += count
        }
    }
}
