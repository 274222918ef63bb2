import ArgumentParser
import FoundationEssentials
import Introspection

/// `introspect-scan cat`.
struct CatCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cat",
        abstract: "Writes the contents of a guest's file to standard output.",
        discussion: """
            Reads the image as it is: what a running guest holds back in its memory or journal is not there yet. \
            An encrypted file is refused: its contents are not on the disk without its key.
            """)

    @Argument(help: "The image.", completion: .file())
    var image: String

    @OptionGroup var choice: FileChoice

    @OptionGroup var volume: VolumeChoice

    @OptionGroup var disk: DiskArguments

    @Flag(name: .long, help: "Print JSON, with the contents in base 64.")
    var json = false

    func validate() throws {
        guard choice.path != nil || choice.inode != nil else {
            throw ValidationError("cat takes a path in the guest's file system, or --inode")
        }
    }

    func run() throws {
        try withGuestFileSystem(image, disk, volume) { fileSystem in
            let file = try choice.file(in: fileSystem)
            guard file.kind == .regular else {
                complain(
                    "\(image): \(fileSystem.volume.name): \(choice.description) is a \(file.kind.name), expected a regular "
                        + "file")
                throw ExitStatus.unreadable
            }
            guard json else { return try fileSystem.forEachPiece(of: file) { try printAll(Array($0)) } }
            var head = Array(#"{"inode":\#(file.number),"size":\#(file.size),"contents":""#.utf8)
            // Three bytes are four digits: what is left of a piece goes with the next.
            var rest = Data()
            try fileSystem.forEachPiece(of: file) { piece in
                rest += piece
                let whole = rest.count / 3 * 3
                try printAll(head + Array(rest.prefix(whole).base64EncodedData()))
                head = []
                rest = Data(rest.dropFirst(whole))
            }
            try printAll(head + Array(rest.base64EncodedData()))
            try printLine(#""}"#)
        }
    }
}
