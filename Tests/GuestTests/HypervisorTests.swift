import Glibc
import TestBed
import Testing

extension GuestTests {
    /// A virtual machine under QEMU, its disk on the datastore.
    struct HypervisorTests {
        /// Debian's kernel is downloaded once and kept where the benchmark keeps its images.
        private static let keptImages = ".build/bench-images"

        @Test func aVirtualMachineBootsWritesAndPowersOff() throws {
            try GuestBed.with(portMapper: true) { bed in
                let image = bed.exported("disk.img")
                try run("truncate", "--size", "96M", image)
                try run("mke2fs", "-q", "-F", "-t", "ext4", image)
                let kernel = try GuestKernel(keptIn: Self.keptImages)
                let start = try kernel.makeInitialFileSystem(
                    """
                    mount -t ext4 /dev/vda /root
                    head -c 5000000 /dev/urandom > /root/random
                    sum=$(md5sum < /root/random)
                    mkdir /root/directory
                    for number in $(seq 300); do echo $number > /root/directory/$number; done
                    umount /root
                    echo 3 > /proc/sys/vm/drop_caches
                    mount -t ext4 -o ro /dev/vda /root
                    test "$sum" = "$(md5sum < /root/random)" && echo "@files $(cat /root/directory/* | wc -l)"
                    echo "@sum $sum"
                    umount /root
                    poweroff -f
                    """, in: bed.temporary)
                let guest = QEMUGuest(on: bed.network, kernel: kernel, initialFileSystem: start)
                let said = try guest.run(disk: bed.server.url(of: "disk.img"), timeLimit: 120)
                #expect(said.contains("@files 300"))
                try bed.server.stop()
                try run("e2fsck", "-fn", image)
                let copy = bed.temporary.file("random")
                try run("debugfs", "-R", "dump /random \(copy)", image)
                let sum = try run("md5sum", copy).prefix(32)
                #expect(sum.count == 32 && said.contains("@sum \(sum)"))
            }
        }
    }
}
