import ArgumentParser
import Foundation

/// `introspect-bench reads`: cached READs against a server that runs.
struct ReadsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reads",
        abstract: "Measure cached READs against an NFSv3 server.",
        discussion: "Reads the file once in order, then at random on one connection with DEPTH calls in flight.")

    @Option(help: "The server's IPv4 address.")
    var host = "127.0.0.1"

    @Option(help: "The server's NFS port.")
    var port: UInt16 = 2049

    @Option(help: "The server's MOUNT port.")
    var mountPort: UInt16 = 20048

    @Option(help: "The exported directory.")
    var export: String

    @Option(help: "The file in it.")
    var file: String

    @Option(help: "Bytes a READ.")
    var size = ByteCount(bytes: 4096)

    @Option(help: "Calls in flight; may be given several times.")
    var depth = [1, 32]

    @Option(help: "Read only the first bytes of the file, so that all of them are cached.")
    var span = ByteCount(bytes: 64 << 20)

    @Option(help: "Seconds a measurement.")
    var seconds = 3.0

    @Option(help: "The server's process number, to count its processor time.")
    var serverProcess: Int32?

    @Flag(help: "Print JSON instead of a table.")
    var json = false

    func run() throws {
        let load = try ReadLoad(host: host, port: port, mountPort: mountPort, export: export, name: file)
        try load.warm(span: span.bytes)
        let results = try depth.map {
            try load.run(
                depth: $0, readSize: size.bytes, span: span.bytes, seconds: seconds, serverProcess: serverProcess)
        }
        if json {
            print(String(decoding: try JSONEncoder().encode(results), as: UTF8.self))
        } else {
            printTable(results)
        }
    }

    private func printTable(_ results: [ReadLoad.Result]) {
        print("depth   reads/s   median us   p99 us   server CPU us/read")
        for result in results {
            let processor = result.serverMicrosecondsPerRead.map { String(format: "%.2f", $0) } ?? "-"
            print(
                String(
                    format: "%5d %9.0f %11.1f %8.1f   %18@", result.depth, result.readsPerSecond,
                    result.medianMicroseconds, result.p99Microseconds, processor as NSString))
        }
    }
}
