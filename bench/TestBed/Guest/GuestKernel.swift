import Glibc

/// Debian's kernel for virtual machines, downloaded and unpacked but not installed on this machine.
public struct GuestKernel: Sendable {
    /// The kernel.
    public let path: String
    private let modules: String

    /// In the order in which they are loaded.
    private static let moduleNames = [
        "virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk",
    ]

    /// The kernel that is kept in `directory`; downloads it, with apt-get, when it is not there yet.
    public init(keptIn directory: String) throws(TestBedError) {
        let directory = try absolutePath(making: directory)
        path = "\(directory)/vmlinuz"
        modules = directory
        if access(path, R_OK) != 0 { try Self.download(to: directory) }
    }

    private static func download(to directory: String) throws(TestBedError) {
        let bed = Bed()
        defer { bed.tearDown() }
        let temporary = try TemporaryDirectory(on: bed)
        // A machine whose packages are all there may never have fetched the lists. The kernel itself comes last:
        // what is there whole is known by it.
        let script = """
            cd '\(temporary.path)'
            fetch() {
                package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: //p' | head -n 1)
                apt-get --quiet download "$package"
            }
            fetch || { apt-get --quiet update; fetch; }
            dpkg-deb --extract linux-image-*.deb files
            for module in \(moduleNames.joined(separator: " ")); do
                find files -name "$module.ko" -exec cp '{}' '\(directory)' ';'
                test -e "\(directory)/$module.ko"
            done
            cp files/boot/vmlinuz-* '\(directory)/vmlinuz.new'
            mv '\(directory)/vmlinuz.new' '\(directory)/vmlinuz'
            """
        try Command(["bash", "-eu", "-o", "pipefail", "-c", script], timeLimit: 300).run()
    }

    /// Makes an initial file system whose only programs are busybox's, and returns its path.
    ///
    /// - Parameter script: what its `/init` does, a shell script, once the virtio disks are there and `/dev`, `/proc`
    ///   and `/sys` are mounted. busybox's programs are on the path.
    public func makeInitialFileSystem(_ script: String, in temporary: TemporaryDirectory) throws(TestBedError)
        -> String
    {
        let loading = Self.moduleNames.map { "insmod /modules/\($0).ko" }.joined(separator: "\n")
        let start = try temporary.write(
            """
            #!/bin/busybox sh
            /bin/busybox mkdir -p /dev /proc /sys /root /sbin /usr/bin /usr/sbin
            /bin/busybox --install
            mount -t devtmpfs dev /dev
            mount -t proc proc /proc
            mount -t sysfs sysfs /sys
            \(loading)
            \(script)

            """, to: "initial-file-system-start", mode: 0o755)
        let result = temporary.file("initial-file-system")
        let packing = """
            root=$(mktemp -d -p '\(temporary.path)')
            mkdir -p $root/bin $root/modules
            cp "$(command -v busybox)" $root/bin/busybox
            cp '\(modules)'/*.ko $root/modules
            cp '\(start)' $root/init
            cd $root
            find . | busybox cpio -o -H newc 2> /dev/null > '\(result)'
            rm -r $root
            """
        try Command(["bash", "-eu", "-o", "pipefail", "-c", packing]).run()
        return result
    }
}
