import ArgumentParser
import FoundationEssentials
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

    @OptionGroup var others: OtherDisks

    @Flag(name: .long, help: "Print JSON, with the contents in base 64.")
    var json = false

    func run() throws {
        try withGuestFileSystem(image, others, choice) { fileSystem in
            let file = try fileSystem.file(at: path)
            guard file.kind == .regular else {
                complain("\(image): \(fileSystem.volume.name): \(path) is a \(file.kind.name), expected a regular file")
                throw ExitStatus.unreadable
            }
            guard json else { return try fileSystem.forEachPiece(of: file) { try printAll(Array($0)) } }
            try printAll(Array(#"{"inode":\#(file.number),"size":\#(file.size),"contents":""#.utf8))
            // Three bytes are four digits: what is left of a piece goes with the next.
            var rest = Data()
            try fileSystem.forEachPiece(of: file) { piece in
                rest += piece
                let whole = rest.count / 3 * 3
                try printAll(Array(rest.prefix(whole).base64EncodedData()))
                rest = Data(rest.dropFirst(whole))
            }
            try printAll(Array(rest.base64EncodedData()))
            try printLine(#""}"#)
        }
    }
}
