import ArgumentParser
import BlockStorage
import Introspection

/// `introspect-scan map`.
struct MapCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "map",
        abstract: "Draws the disk as a picture coloured by class.",
        discussion: """
            The disk runs from left to right and from top to bottom. A cell has the colour of the class that fills most \
            of it; metadata counts eightfold, so that it is seen where it is.
            """)

    @Argument(help: "The image.", completion: .file())
    var image: String

    @Option(name: .shortAndLong, help: "The picture: a name that ends in .png or .svg.")
    var output: String

    @OptionGroup var disk: DiskArguments

    @Flag(name: .long, help: "Print the legend as JSON.")
    var json = false

    @Flag(name: .long, help: "Show no progress bar.")
    var noProgress = false

    func validate() throws {
        guard output.hasSuffix(".png") || output.hasSuffix(".svg") else {
            throw ValidationError("\(output): expected a name that ends in .png or .svg")
        }
    }

    func run() throws {
        let bar = ProgressBar(isEnabled: !noProgress)
        let (introspector, report) = try orComplain { () throws(Refusal) in
            try HostPaths.check(output)
            let open = try OpenImage(image, disk)
            return try Interruption.watching { () throws(Refusal) in
                try scan(open, image, parallelism: 16, bar)
            }
        }
        let picture = DiskPicture(of: introspector, title: image)
        let bytes: [UInt8]
        if output.hasSuffix(".png") {
            var canvas = PNGCanvas(width: DiskPicture.width, height: picture.height)
            picture.draw(on: &canvas)
            bytes = canvas.encoded
        } else {
            var canvas = SVGCanvas(width: DiskPicture.width, height: picture.height)
            picture.draw(on: &canvas)
            bytes = Array(canvas.text.utf8)
        }
        try save(bytes, to: output)
        if json { try printJSON(picture.legend) }
        if complain(about: report.problems) { throw ExitStatus.problems }
    }
}
