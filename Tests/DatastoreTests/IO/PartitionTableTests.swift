import BlockStorage
import Foundation
import Introspection
import Logging
import NIOCore
import TestTools
import Testing

@testable import Datastore

/// Guests that divide their disks anew while the server looks on.
@Suite(.serialized)
struct PartitionTableTests {
    private static let diskSize = 48 << 20

    /// Tables that a disk with file systems at sectors 2,048 and 40,960 gets one after the other, in the words of
    /// sfdisk, and which volumes with a file system there are then.
    private static let tables: [(script: String, volumes: [String])] = [
        (
            "label: dos\nstart=2048, size=32768, type=83\nstart=40960, size=32768, type=83\n",
            ["partition 1", "partition 2"]
        ),
        ("label: gpt\nstart=40960, size=32768\n", ["partition 1"]),
        (
            "label: dos\n2: start=34816, size=57344, type=5\n3: start=2048, size=32768, type=83\n"
                + "5: start=40960, size=32768, type=83\n",
            ["partition 3", "partition 5"]
        ),
    ]

    @Test func theMapFollowsATableThatIsWrittenThroughTheServer() throws {
        try withTemporaryDirectory { directory in
            let (export, disk, next) = ("\(directory)/export", "\(directory)/export/disk.img", "\(directory)/next.img")
            try runTool("mkdir", [export])
            try makeSparseFile(disk, size: Self.diskSize)
            for (type, sector) in [("ext4", 2048), ("ext3", 40960)] {
                try runTool("mke2fs", ["-q", "-F", "-t", type, "-E", "offset=\(sector * 512)", disk, "16M"])
            }
            try runTool("sfdisk", ["--quiet", disk], input: Self.tables[0].script)
            var configuration = DatastoreConfiguration(
                exports: [.init(path: export)], stateDirectory: "\(directory)/state")
            configuration.cacheSize = 16 << 20
            var logger = Logger(label: "test")
            logger.logLevel = .critical
            let datastore = try Datastore(configuration: configuration, logger: logger)
            defer { datastore.close() }
            datastore.openImages()
            try expectMap(of: disk, in: datastore, hasVolumes: Self.tables[0].volumes)
            let handle = try datastore.lookup(
                datastore.mount(export, client: .loopback), FileName("disk.img"), as: .root
            ).handle
            for table in Self.tables.dropFirst() {
                try runTool("cp", ["--sparse=always", disk, next])
                try runTool("sfdisk", ["--quiet", "--wipe", "always", next], input: table.script)
                try write(what: next, hasChangedOf: disk, to: handle, of: datastore)
                try expectMap(of: disk, in: datastore, hasVolumes: table.volumes)
            }
        }
    }

    /// Writes the sectors in which `new` differs from `old`, as a partitioning tool in the guest would.
    private func write(
        what new: String, hasChangedOf old: String, to handle: HandleAlias, of datastore: Datastore
    ) throws {
        let devices = try [old, new].map { try FileDevice(path: $0, access: .readOnly, mode: .buffered) }
        for offset in stride(from: 0, to: Self.diskSize, by: 1 << 20) {
            let parts = try devices.map { try $0.read(ByteRange(offset: offset, length: 1 << 20)) }
            guard parts[0] != parts[1] else { continue }
            for start in stride(from: 0, to: 1 << 20, by: 512) {
                let sector = parts[1][start..<start + 512]
                guard sector != parts[0][start..<start + 512] else { continue }
                _ = try datastore.write(
                    handle, offset: UInt64(offset + start), bytes: ByteBuffer(bytes: sector), stability: .fileSync,
                    as: .root)
            }
        }
    }

    /// Waits until the server's map of `disk` is what a scan of it now finds, for no longer than 20 seconds.
    private func expectMap(of disk: String, in datastore: Datastore, hasVolumes volumes: [String]) throws {
        let device = try FileDevice(path: disk, access: .readOnly, mode: .buffered)
        let fresh = DiskIntrospector(name: disk, diskSize: device.size)
        let report = try fresh.scan(DeviceReader(device), parallelism: 1)
        #expect(report.status.fileSystems.map(\.volume) == volumes)
        var differences: [String] = []
        for _ in 0..<400 {
            differences = ["there is no map"]
            if let session = datastore.files.sessions.first, session.lastScan != nil, !session.isBusy {
                differences = Self.differences(of: session.introspector, from: fresh)
            }
            if differences.isEmpty { return }
            usleep(50_000)
        }
        #expect(differences == [])
    }

    private static func differences(of live: DiskIntrospector, from fresh: DiskIntrospector) -> [String] {
        var lines: [String] = []
        fresh.forEachClass(in: ByteRange(offset: 0, length: fresh.diskSize)) { range, expected in
            live.forEachClass(in: range) { part, found in
                if found != expected, lines.count < 10 {
                    lines.append("\(part): \(found.name), a scan says \(expected.name)")
                }
            }
        }
        return lines
    }
}
