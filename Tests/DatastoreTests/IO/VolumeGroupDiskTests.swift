import Testing
import Volumes

@testable import Datastore

/// Which images are read as one.
struct VolumeGroupDiskTests {
    private func disk(_ path: String, has present: Set<String>, lacks missing: Set<String> = []) -> VolumeGroupDisk {
        VolumeGroupDisk(path: path, volumes: PhysicalVolumeSet(present: present, missing: missing))
    }

    @Test func disksOfOneMachineAreTakenTogether() {
        let disks = [
            disk("/vm/1/data.img", has: ["b"], lacks: ["a"]), disk("/vm/1/other.img", has: ["z"]),
            disk("/vm/1/root.img", has: ["a"], lacks: ["b"]),
        ]
        #expect(VolumeGroupDisk.firstGroup(of: disks) == [0, 2])
        #expect(VolumeGroupDisk.firstGroup(of: [disks[0], disks[1]]) == nil)
    }

    @Test func clonesInDirectoriesOfTheirOwnAreToldApart() {
        let disks = ["/vm/1", "/vm/2"].flatMap {
            [disk("\($0)/a.img", has: ["a"], lacks: ["b"]), disk("\($0)/b.img", has: ["b"], lacks: ["a"])]
        }
        #expect(VolumeGroupDisk.firstGroup(of: disks) == [0, 1])
        #expect(VolumeGroupDisk.firstGroup(of: Array(disks[2...])) == [0, 1])
        #expect(VolumeGroupDisk.firstGroup(of: [disks[0], disks[3]]) == nil)
    }

    @Test func clonesInOneDirectoryAreLeftApart() {
        let disks = ["/vm/a1", "/vm/a2"].map { disk($0, has: ["a"], lacks: ["b"]) } + [disk("/vm/b", has: ["b"])]
        #expect(VolumeGroupDisk.firstGroup(of: disks) == nil)
        #expect(VolumeGroupDisk.firstGroup(of: Array(disks[1...])) == [0, 1])
    }

    /// A tenant has very many disks, each of which lacks physical volumes that no other has, or that all others have.
    @Test(arguments: [false, true]) func manyDisksAreNotComparedWithEachOther(isShared: Bool) {
        let disks = (0..<4000).map {
            disk("/vm/1/disk\($0).img", has: [isShared && $0 % 2 == 0 ? "a" : "has\($0)"], lacks: ["a", "lacks\($0)"])
        }
        let start = ContinuousClock.now
        #expect(VolumeGroupDisk.firstGroup(of: disks) == nil)
        #expect(.now - start < .seconds(10))
    }
}
