import Glibc
import TestBed
import Testing

@testable import introspect_bench

/// Volumes of images as files.
struct AttachTests {
    @Test func aVolumeIsReadAsItIsWritten() throws {
        for text in ["a=disk.img", "a=disk.img:4096+8192", "b=x/y.img:0+4096,81920+4096"] {
            #expect(VolumeArgument(argument: text)?.text == text)
        }
        for text in ["", "a", "a=", "a/b=disk.img", "a=disk.img:1", "a=disk.img:4096+0", "a=disk.img:-1+4096"] {
            #expect(VolumeArgument(argument: text) == nil)
        }
    }

    @Test func aRangeOverSeveralPiecesGoesToEachOfThem() throws {
        try Bed.with { bed in
            let path = try TemporaryDirectory(on: bed).file("image")
            try run("truncate", "--size", "1M", path)
            let volume = Volume(
                name: "a", image: try LocalImage(path: path),
                pieces: [.init(diskOffset: 100, length: 10), .init(diskOffset: 500, length: 20)])
            #expect(volume.size == 30)
            let places = volume.places(of: 5..<15)
            #expect(places.map(\.within) == [0..<5, 5..<10])
            #expect(places.map(\.diskOffset) == [105, 500])
            #expect(volume.places(of: 12..<30).map(\.diskOffset) == [502])
            #expect(volume.places(of: 30..<40).isEmpty)
        }
    }

    /// Through FUSE and a loop device, from a file and from a server: the same bytes at the same places.
    @Test(.enabled(if: geteuid() == 0 && access("/dev/fuse", R_OK) == 0, "needs root and FUSE"))
    func aFileSystemOnAVolumeInPiecesIsWholeOnTheServerToo() throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let export = try temporary.makeDirectory("export")
            let image = "\(export)/disk.img"
            try run("truncate", "--size", "64M", image)
            let pieces = [(40 << 20, 8 << 20), (1 << 20, 24 << 20)].map { Volume.Piece(diskOffset: $0, length: $1) }
            let network = try NetworkNamespace(on: bed)
            let server = IntrospectServer(
                serving: export, options: .init(), network: network, in: temporary, bed: bed)
            try server.start()
            let local = VolumeArgument(name: "volume", file: image, pieces: pieces)
            let remote = VolumeArgument(name: "volume", file: "disk.img", pieces: pieces)
            try Bed.with { bed in
                let guest = try NativeGuest([remote], of: server, network: network, bed: bed)
                let script = """
                    mke2fs -q -F -t ext3 '\(guest.volumes)/volume'
                    device=$(losetup --find --show --direct-io=on '\(guest.volumes)/volume')
                    mkdir '\(guest.directory)/guest0'
                    mount -t ext3 $device '\(guest.directory)/guest0'
                    for number in $(seq 200); do head -c $((number * 500)) /dev/urandom > '\(guest.directory)'/guest0/$number; done
                    cat '\(guest.directory)'/guest0/[0-9]* | cksum
                    umount '\(guest.directory)/guest0'
                    losetup --detach $device
                    """
                let sum = try guest.perform(script, timeLimit: 60) {}
                try server.stop()
                let owner = try NativeGuest([local], of: nil, network: network, bed: bed)
                try run("e2fsck", "-f", "-n", "\(owner.volumes)/volume")
                let again = """
                    device=$(losetup --find --show --direct-io=on '\(owner.volumes)/volume')
                    mkdir '\(owner.directory)/guest0'
                    mount -t ext3 $device '\(owner.directory)/guest0'
                    cat '\(owner.directory)'/guest0/[0-9]* | cksum
                    umount '\(owner.directory)/guest0'
                    losetup --detach $device
                    """
                #expect(try owner.perform(again, timeLimit: 60) {} == sum)
                #expect(sum.count == 1)
            }
        }
    }
}
