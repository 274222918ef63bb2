import ArgumentParser
import Console
import Foundation
import TestBed

/// `introspect-bench load`: one kind of call against a server that runs.
struct LoadCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "load",
        abstract: "Load a running NFSv3 server with one kind of call, and print what was measured as JSON.")

    @Option(help: "The server's IPv4 address.")
    var host = "127.0.0.1"

    @Option(help: "The server's NFS port.")
    var port: UInt16 = 2049

    @Option(help: "The server's MOUNT port.")
    var mountPort: UInt16 = 20048

    @Option(help: "The exported directory.")
    var export: String

    @Option(help: "The file or directory in it.")
    var file: String

    @Option(help: "read, write, write-sync, getattr, lookup (of NAMES in the directory) or readdirplus.")
    var operation = LoadCell.Operation.read

    @Option(help: "Bytes a READ or WRITE.")
    var size = ByteSize(bytes: 4096)

    @Option(help: "Where in the file READs and WRITEs go: from here on.")
    var offset = ByteSize(bytes: 0)

    @Option(help: "READs and WRITEs stay in so many bytes of the file, so that all of them are cached.")
    var span = ByteSize(bytes: 64 << 20)

    @Option(help: "Entries of the directory, which are called entry-00000 and so on.")
    var names = 0

    @Option(help: "Calls in flight on each connection.")
    var depth = 1

    @Option(help: "Connections, each with a thread of its own.")
    var connections = 1

    @Option(help: "Seconds.")
    var seconds = 3.0

    @Option(help: "The server's process number, to count its processor time.")
    var serverProcess: Int32?

    func validate() throws {
        let unit = size.bytes
        guard (1...256).contains(depth), (1...64).contains(connections), seconds > 0,
            (4...1 << 20).contains(unit), unit % 4 == 0, span.bytes >= unit, (0...100_000).contains(names)
        else {
            throw ValidationError(
                "depth is 1 to 256, connections 1 to 64, size a multiple of 4 up to 1M, and the span holds one call")
        }
    }

    func run() throws {
        let result = try LoadRun(self).result()
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        print(String(decoding: try encoder.encode(result), as: UTF8.self))
    }
}

extension LoadCell.Operation: ExpressibleByArgument {}
