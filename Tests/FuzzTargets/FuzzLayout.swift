import BlockStorage
import Volumes

private let partitionedDisks = disks(["mbr", "logical", "gpt", "gpt4096", "hybrid"])
private let lvmDisks = disks(["lvm", "lvm-linear", "lvm-striped"])

private func disks(_ names: [String]) -> [(PatchedDisk, Checksums)] {
    names.map { name in
        let disk = PatchedDisk(named: name)
        return (disk, Checksums(of: disk))
    }
}

/// Scribbles on partition tables.
func fuzzPartition(_ input: UnsafeRawBufferPointer) {
    fuzzLayout(input, partitionedDisks)
}

/// Scribbles on LVM labels and metadata.
func fuzzLVM(_ input: UnsafeRawBufferPointer) {
    fuzzLayout(input, lvmDisks)
}

/// Reads the layout of a disk as the input has changed it. It must keep what it promises: whatever the bytes say, ranges
/// lie inside the disk and volumes share none.
///
/// The input's first byte chooses the disk, and by its highest bit whether checksums stay wrong.
private func fuzzLayout(_ input: UnsafeRawBufferPointer, _ disks: [(PatchedDisk, Checksums)]) {
    guard let choice = input.first else { return }
    let (disk, checksums) = disks[Int(choice & 0x7f) % disks.count]
    disk.reset(applying: disk.patches(input.dropFirst()))
    if choice & 0x80 == 0 { checksums.repair(disk) }
    guard let layout = try? DiskLayout.read(from: disk) else {
        preconditionFailure("bytes made reading fail")
    }
    let whole = ByteRange(offset: 0, length: disk.size)
    for partition in layout.partitions {
        precondition(whole.contains(partition.range), "partition \(partition.index) leaves the disk")
    }
    var end = 0
    for structure in layout.structures {
        precondition(structure.range.offset >= end && whole.contains(structure.range), "structures overlap")
        end = structure.range.end
    }
    var occupied: [ByteRange] = []
    for volume in layout.volumes + layout.degradedVolumes {
        for range in volume.map.diskRanges {
            precondition(whole.contains(range), "\(volume.name) leaves the disk")
            occupied.append(range)
        }
        // A stripe of one sector makes many ranges; the first ones and the last show a wrong map as well.
        let sample = min(volume.size, 1 << 18)
        for start in [0, volume.size - sample] {
            volume.map.forEachDiskRange(of: ByteRange(offset: start, length: sample)) { range, offset in
                precondition(whole.contains(range), "\(volume.name) leaves the disk at \(offset)")
                precondition(volume.map.volumeOffset(ofDiskOffset: range.offset) == offset, "\(volume.name): way back")
            }
        }
    }
    occupied.sort { $0.offset < $1.offset }
    for (first, second) in zip(occupied, occupied.dropFirst()) {
        precondition(first.end <= second.offset, "volumes share bytes at \(second)")
    }
}
