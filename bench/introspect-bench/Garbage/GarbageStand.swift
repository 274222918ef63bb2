import Foundation
import Glibc
import TestBed

/// A server with a neighbour's image and images to be filled with garbage.
final class GarbageStand {
    private static let neighbour = "neighbour.img"

    /// Whether the server looks into images.
    let introspects: Bool
    private let temporary: TemporaryDirectory
    private let network: NetworkNamespace
    private let server: IntrospectServer
    private let blocks: GuestBlocks
    private var seed: UInt64 = 0

    /// Makes the images and starts the server.
    init(on bed: Bed, introspects: Bool, type: String, rounds: Int) throws {
        self.introspects = introspects
        temporary = try TemporaryDirectory(on: bed)
        let export = try temporary.makeDirectory("export")
        let tree = try temporary.makeDirectory("tree")
        // 4,000 small files in 100 directories, and large ones.
        let script = """
            cd "$1"
            for number in $(seq 100); do
                mkdir directory-$number
                for file in $(seq 40); do echo $file > directory-$number/file-$file; done
            done
            for number in $(seq 20); do head -c 4M /dev/urandom > large-$number; done
            """
        try TestBed.run("sh", "-c", script, "sh", tree)
        let template = "\(export)/\(Self.neighbour)"
        try TestBed.run("mke2fs", "-q", "-F", "-t", type, "-b", "\(GuestBlocks.size)", "-d", tree, template, "192M")
        blocks = try GuestBlocks(of: template)
        for round in 1...rounds {
            for phase in GarbageCommand.Phase.allCases where phase != .idle {
                try TestBed.run("cp", "--sparse=always", template, "\(export)/\(Self.image(phase, round))")
            }
        }
        network = try NetworkNamespace(on: bed)
        var options = IntrospectServer.Options()
        options.introspects = introspects
        server = IntrospectServer(serving: export, options: options, network: network, in: temporary, bed: bed)
        try server.start()
        if introspects { _ = try server.waitUntilIntrospectionRests(images: 2 * rounds + 1, upTo: 120) }
        // Not in the middle of a measurement.
        try TestBed.run("sync")
    }

    private static func image(_ phase: GarbageCommand.Phase, _ round: Int) -> String {
        "\(phase.rawValue)-\(round).img"
    }

    /// Times the neighbour's calls while garbage goes where `phase` says.
    func measure(
        _ phase: GarbageCommand.Phase, round: Int, calls: Double, seconds: Double
    ) throws -> DisturbedLoadCommand.Outcome {
        seed += 1
        let offsets: [Int]? =
            switch phase {
            case .idle: nil
            case .metadata: blocks.allMetadata
            case .tables: blocks.metadata
            }
        let order = DisturbedLoadCommand.Order(
            export: server.directory, port: UInt16(server.port), mountPort: UInt16(server.mountPort),
            image: Self.neighbour, blocks: blocks, rate: calls,
            garbage: offsets.map { .init(image: Self.image(phase, round), offsets: $0) }, seconds: seconds,
            seed: seed)
        let path = temporary.file("order.json")
        try JSONEncoder().encode(order).write(to: URL(fileURLWithPath: path))
        let words = [try Executable.path(of: "introspect-bench"), "disturbed-load", path]
        do {
            let output = try network.command(words, timeLimit: seconds + 60).run()
            return try JSONDecoder().decode(DisturbedLoadCommand.Outcome.self, from: Data(output.utf8))
        } catch {
            throw TestBedError("garbage in \(phase.rawValue): \(error)\n\(server.log.suffix(4000))")
        }
    }

    /// The server's resident memory in bytes.
    func residentBytes() throws -> Int {
        guard let process = server.processIdentifier else { throw TestBedError("the server does not run") }
        let status = try readText(of: "/proc/\(process)/status")
        let line = status.split(separator: "\n").first { $0.hasPrefix("VmRSS:") }
        return (line?.split(separator: " ").compactMap { Int($0) }.first ?? 0) << 10
    }

    /// Stops the server in order; the neighbour's file system must be as it was.
    func stop() throws {
        try server.stop()
        try TestBed.run("e2fsck", "-fn", "\(server.directory)/\(Self.neighbour)")
    }
}
