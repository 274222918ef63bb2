import Foundation
import TestBed

/// The servers of a comparison, each with a directory of the same content in a network namespace of its own, all
/// running at the same time and loaded in turn.
final class MicroStand {
    /// One of them.
    private struct Place {
        let server: any DatastoreServer
        let network: NetworkNamespace
    }

    /// Bytes that READs and WRITEs stay in: the caches of all servers hold them.
    private static let span = 64 << 20
    private static let image = "disk.img"
    private static let directory = "names"

    private let bed: Bed
    private let temporary: TemporaryDirectory
    private let template: String
    /// Where the image has the data of one guest file.
    private let data: Range<Int>
    private var places: [MicroRecord.Server: Place] = [:]

    /// Makes the image.
    init(on bed: Bed) throws {
        self.bed = bed
        temporary = try TemporaryDirectory(on: bed)
        // Written to, an image must stay one: the guest has a file, and only its bytes are replaced.
        let guest = try temporary.makeDirectory("guest")
        template = temporary.file("template.img")
        let count = (Self.span + Self.span / 4) >> 20
        try run("dd", "if=/dev/urandom", "of=\(guest)/data", "bs=1M", "count=\(count)", "status=none")
        try run("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-d", guest, template, "128M")
        data = try Self.largestExtent(of: "/data", in: template)
        guard data.count >= Self.span else {
            throw TestBedError("\(template): mke2fs laid the guest's file out in pieces of \(data.count) bytes at most")
        }
        try run("rm", "-r", guest)
    }

    /// Starts the servers; waits until introspection has looked at the image.
    func start(_ servers: [MicroRecord.Server]) throws {
        for server in servers where server != .local {
            let home = try TemporaryDirectory(on: bed)
            let export = try home.makeDirectory("export")
            try copyImage(to: "\(export)/\(Self.image)")
            try makeNames(in: "\(export)/\(Self.directory)")
            let network = try NetworkNamespace(on: bed)
            let place: Place
            if server == .ganesha {
                // It does not start without one.
                try network.startPortMapper(logPath: home.file("rpcbind.log"), on: bed)
                place = Place(
                    server: GaneshaServer(serving: export, network: network, in: home, bed: bed), network: network)
            } else {
                var options = IntrospectServer.Options()
                options.introspects = server == .ours
                place = Place(
                    server: IntrospectServer(
                        serving: export, options: options, network: network, in: home, bed: bed),
                    network: network)
            }
            try place.server.start()
            if server == .ours, let ours = place.server as? IntrospectServer {
                _ = try ours.waitUntilIntrospectionRests(upTo: 30)
            }
            places[server] = place
        }
        if servers.contains(.local) { try copyImage(to: localFile) }
        // None of this may reach the disk in the middle of a measurement.
        try run("sync")
    }

    /// Stops the servers in order.
    func stop() throws {
        for place in places.values { try place.server.stop() }
        places = [:]
    }

    /// Measures one cell; for servers in a process of its own in their network.
    func measure(_ cell: LoadCell, _ server: MicroRecord.Server, seconds: Double) throws -> LoadResult {
        if server == .local {
            return try LocalSync.measure(cell, file: localFile, span: Self.span, seconds: seconds)
        }
        guard let place = places[server], let process = place.server.processIdentifier else {
            throw TestBedError("\(server.title) does not run")
        }
        let isNamed = cell.operation == .lookup || cell.operation == .readdirplus
        let words = [
            try Executable.path(of: "introspect-bench"), "load", "--host", NetworkNamespace.serverAddress,
            "--port", "\(place.server.port)", "--mount-port", "\(place.server.mountPort)",
            "--export", place.server.directory, "--file", isNamed ? Self.directory : Self.image,
            "--names", "\(MicroMatrix.names)", "--offset", "\(data.lowerBound)", "--span", "\(Self.span)",
            "--operation", cell.operation.rawValue, "--size", "\(max(4, cell.size))", "--depth", "\(cell.depth)",
            "--connections", "\(cell.connections)", "--seconds", "\(seconds)", "--server-process", "\(process)",
        ]
        do {
            let output = try place.network.command(words).run()
            return try JSONDecoder().decode(LoadResult.self, from: Data(output.utf8))
        } catch {
            throw TestBedError("\(cell.name), \(server.title): \(error)\n\(place.server.log.suffix(2000))")
        }
    }

    private var localFile: String { temporary.file("local.img") }

    private func copyImage(to path: String) throws(TestBedError) {
        try run("cp", "--sparse=never", template, path)
    }

    private func makeNames(in directory: String) throws(TestBedError) {
        guard mkdir(directory, 0o755) == 0 else { throw .lastSystemError("mkdir \(directory)") }
        for number in 0..<MicroMatrix.names {
            let digits = String(number)
            let path = "\(directory)/entry-\(String(repeating: "0", count: 5 - digits.count))\(digits)"
            let descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o644)
            guard descriptor >= 0 else { throw .lastSystemError("open \(path)") }
            close(descriptor)
        }
    }

    /// The longest run of bytes in which `image` has the file `path` of its file system.
    private static func largestExtent(of path: String, in image: String) throws(TestBedError) -> Range<Int> {
        let text = try run("debugfs", "-R", "dump_extents -n -l \(path)", image)
        // Level, of levels, entry, of entries, logical range, physical range, length; ranges with a dash.
        let runs = text.split(separator: "\n").compactMap { line -> Range<Int>? in
            let numbers = line.split { !$0.isNumber }.compactMap { Int($0) }
            guard numbers.count == 9 else { return nil }
            return numbers[6] * 4096..<(numbers[7] + 1) * 4096
        }
        return runs.max { $0.count < $1.count } ?? 0..<0
    }
}
