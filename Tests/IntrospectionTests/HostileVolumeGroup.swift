import BlockStorage
import TestTools

@testable import Volumes

extension SparseDisk {
    private static let metadataArea = 4 << 20
    static let physicalVolumeIdentifier = "0123456789abcdefghijklmnopqrstuv"

    /// Makes the disk the physical volume `pv0`, of extents of 1 MiB from 1 MiB on, of a group with these logical volumes.
    ///
    /// - Parameter missing: physical volumes that the group has on other disks.
    func makePhysicalVolume(volumes: String, missing: Int = 0) {
        let others = (0..<missing).map { "m\($0) { id = \"m\($0)\" pe_start = 0 pe_count = 1 }" }
        let text = Array(
            """
            vg { id = "group" seqno = 1 extent_size = 2048 physical_volumes { pv0 { id = "\(Self.physicalVolumeIdentifier)"
            pe_start = 2048 pe_count = \(size / (1 << 20) - 1) } \(others.joined(separator: " ")) }
            logical_volumes { \(volumes) } }
            """.utf8)
        precondition(text.count + 512 <= Self.metadataArea)
        var label = Array("LABELONE".utf8) + [UInt8](repeating: 0, count: 504)
        label.store(UInt64(1), at: 8)
        label.store(UInt32(32), at: 20)
        label.replaceSubrange(24..<32, with: "LVM2 001".utf8)
        label.replaceSubrange(32..<64, with: Self.physicalVolumeIdentifier.utf8)
        label.store(UInt64(size), at: 64)
        label.store(UInt64(8 << 20), at: 72)
        label.store(UInt64(4096), at: 104)
        label.store(UInt64(Self.metadataArea), at: 112)
        label.store(LVMChecksum.of(label[20...]), at: 16)
        var header = [UInt8](repeating: 0, count: 512)
        header.replaceSubrange(4..<20, with: " LVM2 x[5A%r0N*>".utf8)
        header.store(UInt32(1), at: 20)
        header.store(UInt64(4096), at: 24)
        header.store(UInt64(Self.metadataArea), at: 32)
        header.store(UInt64(512), at: 40)
        header.store(UInt64(text.count), at: 48)
        header.store(LVMChecksum.of(text[...]), at: 56)
        header.store(LVMChecksum.of(header[4...]), at: 0)
        for (bytes, offset) in [(label, 512), (header, 4096), (text, 4096 + 512)] {
            bytes.withUnsafeBytes { write($0, at: offset) }
        }
    }

    /// The description of a visible logical volume of one segment.
    static func volume(_ name: String, extents: Int, _ segment: String) -> String {
        """
        \(name) { status = ["READ", "VISIBLE"] segment_count = 1
        segment1 { start_extent = 0 extent_count = \(extents) \(segment) } }

        """
    }
}

extension HostileDisk {
    /// Makes the disk a physical volume whose group has mirrors, stripes and volumes within volumes.
    mutating func makeVolumeGroup() {
        let extents = disk.size / (1 << 20) - 1
        var volumes = ""
        for number in 0..<Int.random(in: 1...12, using: &random) {
            volumes += volume("lv\(number)", extents: extents)
        }
        disk.makePhysicalVolume(volumes: volumes, missing: pick([0, 3, 4000]))
        targets.append(ByteRange(offset: disk.size / 4 & ~4095, length: 1 << 20))
    }

    private mutating func volume(_ name: String, extents: Int) -> String {
        let start = Int.random(in: 0..<max(1, extents / 2), using: &random)
        let count = pick([1, 2, max(1, extents / 4), extents])
        let segment: String
        switch Int.random(in: 0..<4, using: &random) {
        case 0:
            let legs = (0..<pick([2, 3, 500])).map { "\"\(pick(["pv0", "lv0", "lv1", name]))\", \(start + $0)" }
            segment = "type = \"mirror\" mirrors = [\(legs.joined(separator: ", "))]"
        case 1:
            let columns = pick([2, 4, 64])
            let places = (0..<columns).map { "\"pv0\", \(start + $0 * max(1, count / columns))" }
            segment = """
                type = "striped" stripe_count = \(columns) stripe_size = \(pick([1, 8, 128, 2048]))
                stripes = [\(places.joined(separator: ", "))]
                """
        default:
            segment =
                "type = \"striped\" stripe_count = 1 stripes = [\"\(pick(["pv0", "pv0", "lv0", "lv2"]))\", \(start)]"
        }
        return SparseDisk.volume(name, extents: count, segment)
    }
}
