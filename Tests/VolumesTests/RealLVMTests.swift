import BlockStorage
import Foundation
import TestTools
import Testing

@testable import Volumes

/// Volume groups that lvm made, against what `lvs` and `pvs` say.
struct RealLVMTests {
    private static let partitions = [
        (offset: 1 << 20, length: 80 << 20), (offset: 100 << 20, length: 60 << 20),
        (offset: 170 << 20, length: 8 << 20),
    ]

    @Test func linearAndStripedVolumesOverTwoPartitions() throws {
        try withPartitionedDisk { disk, devices, lvm in
            try lvm("pvcreate", "--metadatacopies", "2", devices[0], devices[1])
            try lvm("vgcreate", "--physicalextentsize", "1m", "vg-0", devices[0], devices[1])
            try lvm.createVolume("--extents", "5", "--name", "root", "vg-0")
            try lvm.createVolume("--stripes", "2", "--stripesize", "64k", "--extents", "20", "--name", "fast", "vg-0")
            try lvm.createVolume("--extents", "3", "--name", "swap", "vg-0", devices[1])
            try lvm("lvextend", "--stripes", "2", "--stripesize", "16k", "--extents", "+4", "vg-0/fast")
            try lvm("lvextend", "--extents", "+70", "vg-0/root")
            try lvm("lvremove", "vg-0/swap")
            let layout = try DiskLayout.read(from: disk)
            #expect(layout.problems == [])
            #expect(layout.partitions.count == 3)
            #expect(layout.degradedVolumes == [])
            #expect(layout.volumes.map(\.name) == ["partition 3", "vg-0/root", "vg-0/fast"])
            try expect(layout, toMatch: lvm, devices: devices)
            let lvmRanges = layout.structures.filter { $0.kind == .lvmMetadata }.map(\.range)
            for (partition, ranges) in zip(Self.partitions, [lvmRanges.prefix(3), lvmRanges.dropFirst(3)]) {
                #expect(ranges.count == 3)
                #expect(ranges.first == ByteRange(offset: partition.offset, length: 2048))
                for area in ranges.dropFirst() {
                    #expect(area.offset >= partition.offset && area.end <= partition.offset + partition.length)
                    #expect(try disk.read(ByteRange(offset: area.offset + 4, length: 5)) == Array(" LVM2".utf8))
                }
            }
        }
    }

    @Test func theWholeDiskIsAPhysicalVolume() throws {
        try withTemporaryDirectory { directory in
            let path = "\(directory)/disk"
            try makeSparseFile(path, size: 64 << 20)
            try withLoopDevices(path, parts: [(0, 64 << 20)]) { devices in
                let lvm = try LVMTool(devices: devices, directory: directory)
                try lvm("pvcreate", "--dataalignment", "3m", devices[0])
                try lvm("vgcreate", "--physicalextentsize", "128k", "vg-0", devices[0])
                try lvm.createVolume("--extents", "77", "--name", "a", "vg-0")
                let layout = try DiskLayout.read(from: FileDevice(path: path, access: .readOnly, mode: .buffered))
                #expect(layout.problems == [])
                #expect(layout.partitionTable == .none)
                #expect(
                    layout.volumes.map(\.map) == [VolumeMap(linear: ByteRange(offset: 3 << 20, length: 77 << 17))])
                #expect(layout.structures.map(\.range.offset) == [0, 4096])
            }
        }
    }

    @Test func metadataThatWrapsAroundItsArea() throws {
        try withPartitionedDisk { disk, devices, lvm in
            try lvm("pvcreate", devices[2])
            try lvm("vgcreate", "--physicalextentsize", "1m", "vg-0", devices[2])
            try lvm.createVolume("--extents", "2", "--name", "root", "vg-0")
            for number in 0..<60 {
                try lvm("vgchange", "--addtag", "t\(number)-" + String(repeating: "x", count: 1000), "vg-0")
                guard try textRanges(on: disk, partition: Self.partitions[2]).count < 2 else { break }
            }
            #expect(try textRanges(on: disk, partition: Self.partitions[2]).count == 2)
            let layout = try DiskLayout.read(from: disk)
            #expect(layout.problems == [])
            #expect(layout.volumes.map(\.name) == ["partition 1", "partition 2", "vg-0/root"])
            try expect(layout, toMatch: lvm, devices: devices)
        }
    }

    @Test func theNewestMetadataWins() throws {
        try withPartitionedDisk { disk, devices, lvm in
            try lvm("pvcreate", devices[0], devices[1])
            try lvm("vgcreate", "--physicalextentsize", "1m", "vg-0", devices[0], devices[1])
            try lvm.createVolume("--extents", "5", "--name", "old", "vg-0")
            let area = ByteRange(offset: Self.partitions[0].offset, length: 1 << 20)
            let before = try disk.read(area)
            try lvm("lvrename", "vg-0/old", "vg-0/new")
            try disk.write(before, at: area.offset)
            let layout = try DiskLayout.read(from: disk)
            #expect(layout.volumes.map(\.name) == ["partition 3", "vg-0/new"])
            #expect(layout.problems.count == 1)
            #expect(layout.problems[0].message.contains("seqno 2, expected the 3"))
        }
    }

    @Test func areasThatLVMWasToldToIgnoreAndPhysicalVolumesWithoutAny() throws {
        try withPartitionedDisk { disk, devices, lvm in
            try lvm("pvcreate", "--metadatacopies", "0", devices[0])
            try lvm("pvcreate", "--metadataignore", "y", devices[1])
            try lvm("pvcreate", devices[2])
            try lvm("vgcreate", "--physicalextentsize", "1m", "vg-0", devices[0], devices[1], devices[2])
            try lvm.createVolume("--stripes", "3", "--extents", "6", "--name", "root", "vg-0")
            let layout = try DiskLayout.read(from: disk)
            #expect(layout.problems == [])
            #expect(layout.volumes.map(\.name) == ["vg-0/root"])
            try expect(layout, toMatch: lvm, devices: devices)
        }
    }

    @Test func aPhysicalVolumeWithoutMetadata() throws {
        try withPartitionedDisk { disk, devices, lvm in
            try lvm("pvcreate", devices[0])
            let layout = try DiskLayout.read(from: disk)
            #expect(layout.volumes.map(\.name) == ["partition 2", "partition 3"])
            #expect(layout.problems.count == 1)
            #expect(layout.problems[0].offset == Self.partitions[0].offset)
            #expect(layout.problems[0].message.contains("belongs to no volume group, expected metadata that lists it"))
        }
    }

    @Test func volumesWithPartsOnAnotherDiskAreDegraded() throws {
        try withTemporaryDirectory { directory in
            let paths = ["\(directory)/first", "\(directory)/second"]
            for path in paths { try makeSparseFile(path, size: 32 << 20) }
            try withLoopDevices(paths[0], parts: [(0, 32 << 20)]) { first in
                try withLoopDevices(paths[1], parts: [(0, 32 << 20)]) { second in
                    let lvm = try LVMTool(devices: first + second, directory: directory)
                    try lvm("pvcreate", first[0], second[0])
                    try lvm("vgcreate", "--physicalextentsize", "1m", "vg-0", first[0], second[0])
                    try lvm.createVolume("--extents", "5", "--name", "here", "vg-0", first[0])
                    try lvm.createVolume("--extents", "5", "--name", "there", "vg-0", second[0])
                    try lvm.createVolume("--stripes", "2", "--extents", "4", "--name", "striped", "vg-0")
                    try lvm.createVolume("--extents", "30", "--name", "both", "vg-0")
                }
            }
            let layout = try DiskLayout.read(from: FileDevice(path: paths[0], access: .readOnly, mode: .buffered))
            #expect(layout.volumes.map(\.name) == ["vg-0/here"])
            #expect(layout.degradedVolumes.map(\.name) == ["vg-0/both"])
            #expect(layout.degradedVolumes.first?.size == 30 << 20)
            #expect(layout.problems.count == 3)
            #expect(layout.problems.allSatisfy { $0.message.contains("is not on this disk") })
            for name in ["there", "striped", "both"] {
                #expect(layout.problems.contains { $0.message.hasPrefix("vg-0/\(name): degraded, from byte ") })
            }
        }
    }

    @Test func volumesOverSeveralDisksAreWholeWhenTheDisksAreReadAsOne() throws {
        let sizes = [32 << 20, 40 << 20, 24 << 20]
        try withTemporaryDirectory { directory in
            let path = "\(directory)/disks"
            try makeSparseFile(path, size: sizes.reduce(0, +))
            let members = sizes.indices.map { ByteRange(offset: sizes[..<$0].reduce(0, +), length: sizes[$0]) }
            try withLoopDevices(path, parts: members.map { ($0.offset, $0.length) }) { devices in
                // The second disk has a partition table, and its physical volume in a partition.
                try runTool("sfdisk", ["--quiet", devices[1]], input: "label: gpt\nstart=8192\n")
                let partition = members[1].offset + (4 << 20)
                try withLoopDevices(path, parts: [(partition, 35 << 20)]) { inner in
                    let lvm = try LVMTool(devices: [devices[0], inner[0], devices[2]], directory: directory)
                    try lvm("pvcreate", devices[0], inner[0])
                    try lvm("vgcreate", "--physicalextentsize", "1m", "vg-0", devices[0], inner[0])
                    try lvm.createVolume("--stripes", "2", "--extents", "20", "--name", "root", "vg-0")
                    try lvm("pvcreate", devices[2])
                    try lvm("vgextend", "vg-0", devices[2])
                    try lvm("lvextend", "--stripes", "1", "--extents", "+20", "vg-0/root", devices[2])
                }
            }
            let disk = try FileDevice(path: path, access: .readOnly, mode: .buffered)
            let layout = try DiskLayout.read(from: disk, members: members)
            #expect(layout.problems == [])
            #expect(layout.volumes.map(\.name) == ["vg-0/root"])
            #expect(layout.volumes.first?.size == 40 << 20)
            #expect(layout.physicalVolumes.present.count == 3 && layout.physicalVolumes.missing.isEmpty)
            let columns = layout.volumes.first?.map.segments.first?.columns ?? []
            #expect(columns.map { column in members.firstIndex { $0.offset <= column && column < $0.end } } == [0, 1])
            #expect(layout.partitions.map(\.range.offset) == [members[1].offset + (4 << 20)])
            // The first alone lacks the others, and says which.
            let alone = try DiskLayout.read(from: disk, members: [members[0]])
            #expect(alone.volumes == [] && alone.physicalVolumes.missing.count == 2)
        }
    }

    @Test func aGroupInsideALogicalVolumeIsNamed() throws {
        try withPartitionedDisk { disk, devices, lvm in
            try lvm("pvcreate", devices[0])
            try lvm("vgcreate", "--physicalextentsize", "1m", "vg-0", devices[0])
            try lvm.createVolume("--extents", "30", "--name", "disk", "vg-0")
            let outer = try DiskLayout.read(from: disk)
            #expect(outer.problems == [])
            let start = try #require(outer.volumes.last?.map.diskRanges.first)
            try withTemporaryDirectory { directory in
                let inside = "\(directory)/inside"
                try makeSparseFile(inside, size: start.length)
                try withLoopDevices(inside, parts: [(0, start.length)]) { nested in
                    let lvm = try LVMTool(devices: nested, directory: directory)
                    try lvm("pvcreate", nested[0])
                    try lvm("vgcreate", "inner", nested[0])
                }
                let head = try FileDevice(path: inside, access: .readOnly, mode: .buffered)
                    .read(ByteRange(offset: 0, length: 1 << 20))
                try disk.write(head, at: start.offset)
            }
            let layout = try DiskLayout.read(from: disk)
            #expect(layout.volumes.map(\.name).contains("vg-0/disk"))
            #expect(
                layout.problems.map(\.message) == [
                    "vg-0/disk: holds an LVM2 physical volume; a group inside a logical volume is not looked into"
                ])
        }
    }

    @Test func bytesGoWhereTheVolumeHasThem() throws {
        try withPartitionedDisk { disk, devices, lvm in
            try lvm("pvcreate", devices[0], devices[1])
            try lvm("vgcreate", "--physicalextentsize", "1m", "vg-0", devices[0], devices[1])
            try lvm.createVolume("--stripes", "2", "--stripesize", "4k", "--extents", "2", "--name", "root", "vg-0")
            let layout = try DiskLayout.read(from: disk)
            let device = VolumeDevice(volume: try #require(layout.volumes.last), disk: disk)
            let bytes = (0..<20_000).map { UInt8(truncatingIfNeeded: $0 / 7) }
            try device.write(bytes, at: 3000)
            #expect(try device.read(ByteRange(offset: 3000, length: 20_000)) == bytes)
            // Stripes of 4 KiB: the volume's second stripe is the first on the second device.
            let second = Self.partitions[1].offset + (1 << 20)
            #expect(try disk.read(ByteRange(offset: second, length: 4096)) == Array(bytes[1096..<5192]))
        }
    }

    /// Compares every volume's map with the segments that lvm lists.
    private func expect(_ layout: DiskLayout, toMatch lvm: LVMTool, devices: [String]) throws {
        let (starts, _) = try lvm.extents(of: "vg-0")
        let extentSize = try lvm.extents(of: "vg-0").size
        let segments = Dictionary(grouping: try lvm.segments(of: "vg-0"), by: \.volume)
        let volumes = layout.volumes.filter { $0.name.hasPrefix("vg-0/") }
        #expect(volumes.count == segments.count)
        for volume in volumes {
            let expected = try #require(segments[String(volume.name.dropFirst(5))]).sorted { $0.start < $1.start }
            let mapped = try expected.map { segment in
                let columns = try segment.columns.map { column in
                    let partition = Self.partitions[try #require(devices.firstIndex(of: column.device))]
                    return partition.offset + (try #require(starts[column.device])) + column.extent * extentSize
                }
                return VolumeMap.Segment(
                    volumeOffset: segment.start, length: segment.length, columns: columns,
                    stripeSize: columns.count == 1 ? segment.length : segment.stripeSize)
            }
            #expect(volume.map.segments == mapped)
            #expect(volume.isComplete)
        }
    }

    private func textRanges(on disk: FileDevice, partition: (offset: Int, length: Int)) throws -> [ByteRange] {
        let label = try #require(
            LVMLabel.find(in: disk.read(ByteRange(offset: partition.offset, length: 2048)), at: 0) { _ in })
        let area = ByteRange(
            offset: partition.offset + label.metadataAreas[0].offset, length: label.metadataAreas[0].length)
        let bytes = try disk.read(ByteRange(offset: area.offset, length: 512))
        return try LVMMetadataHeader(parsing: bytes, area: area, origin: partition.offset).textRanges
    }

    /// Calls `body` with a GPT disk of three partitions, a device for each, and an lvm that sees only those.
    private func withPartitionedDisk(_ body: (FileDevice, [String], LVMTool) throws -> Void) throws {
        try withTemporaryDirectory { directory in
            let path = "\(directory)/disk"
            try makeSparseFile(path, size: 180 << 20)
            let script = Self.partitions.map { "start=\($0.offset / 512), size=\($0.length / 512)\n" }.joined()
            try runTool("sfdisk", ["--quiet", path], input: "label: gpt\n" + script)
            try withLoopDevices(path, parts: Self.partitions) { devices in
                let lvm = try LVMTool(devices: devices, directory: directory)
                try body(FileDevice(path: path, access: .readWrite, mode: .buffered), devices, lvm)
            }
        }
    }
}
