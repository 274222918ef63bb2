import ArgumentParser
import TestBed

/// `introspect-bench attach`: a guest's volumes as files, over NFS or from this machine.
struct AttachCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "attach",
        abstract: "Mount a directory in which volumes of disk images are files, as a hypervisor has them.",
        discussion: """
            Each request for such a file becomes one READ, WRITE (UNSTABLE) or COMMIT of the image on the NFS server; \
            without --host the images are files of this machine. Put a loop device on it with: losetup --find --show \
            --direct-io=on DIRECTORY/NAME. Serves until SIGINT or SIGTERM, or until DIRECTORY is unmounted.
            """)

    @Argument(help: "The directory to mount on.")
    var directory: String

    @Option(
        help: ArgumentHelp(
            "A file to show and the image that it is of; its pieces follow as OFFSET+LENGTH with commas between.",
            valueName: "name=image[:pieces]"))
    var volume: [VolumeArgument]

    @Option(help: "The NFS server's IPv4 address.")
    var host: String?

    @Option(help: "The port of the NFS program.")
    var port: UInt16 = 2049

    @Option(help: "The port of the MOUNT program.")
    var mountPort: UInt16 = 20048

    @Option(help: "The exported directory.")
    var export = ""

    func run() throws {
        var volumes: [Volume] = []
        for argument in volume {
            let image = try open(argument.file)
            let pieces = argument.pieces.isEmpty ? [.init(diskOffset: 0, length: image.size)] : argument.pieces
            guard pieces.allSatisfy({ $0.diskOffset <= image.size && $0.length <= image.size - $0.diskOffset }) else {
                throw ValidationError("\(argument.text): the image has \(image.size) bytes")
            }
            volumes.append(Volume(name: argument.name, image: image, pieces: pieces))
        }
        try VolumeFiles(volumes, on: directory).run()
    }

    private func open(_ file: String) throws(NFSClientError) -> any ImageFile {
        guard let host else { return try LocalImage(path: file) }
        return try NFSImage(
            file, in: export, host: host, port: port, mountPort: mountPort, connectionCount: VolumeFiles.threadCount)
    }
}
