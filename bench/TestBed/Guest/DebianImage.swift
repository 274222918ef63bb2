import Glibc

/// A small Debian with systemd on a partitioned disk, its root an ext3, to be booted with a ``GuestKernel``.
///
/// When it has reached `multi-user.target` it says ``bootedMark`` on its serial console and does what the kernel's
/// command line tells it: see ``Errand``.
public struct DebianImage: Sendable {
    /// The image file, to be copied before it is booted.
    public let path: String

    /// The console's line when the guest is up.
    public static let bootedMark = "@booted"
    /// The console's line when the guest begins to shut down in order to start again.
    public static let rebootMark = "@reboots"

    /// What the guest does once it is up.
    public enum Errand: String, Sendable {
        /// Writes everything out and powers off.
        case powerOff = "introspect.errand=power-off"
        /// Writes everything out and reboots; once it is up again it powers off.
        case reboot = "introspect.errand=reboot"
    }

    private static let mebibyte = 1 << 20
    private static let packages = "systemd-sysv,udev,dbus,kmod"
    private static let size = 1024 * mebibyte

    /// The image that is kept in `directory`; makes it, with debootstrap, when it is not there yet: that takes one to
    /// two minutes and needs root and Debian's packages.
    public init(keptIn directory: String) throws(TestBedError) {
        path = "\(directory)/debian.img"
        if access(path, R_OK) != 0 { try Self.make(path, in: directory) }
    }

    /// The init script of the initial file system that goes over to the image's root.
    public static let initialScript = """
        until [ -b /dev/vda1 ]; do sleep 0.05; done
        mount -t ext3 -o noatime /dev/vda1 /root
        mount --move /dev /root/dev
        mount --move /proc /root/proc
        mount --move /sys /root/sys
        exec switch_root /root /sbin/init
        """

    private static func make(_ path: String, in directory: String) throws(TestBedError) {
        try run("mkdir", "-p", directory)
        let bed = Bed()
        defer { bed.tearDown() }
        let root = try TemporaryDirectory(on: bed).path + "/root"
        try run(
            "debootstrap", "--variant=minbase", "--include=\(packages)", release(), root,
            "http://deb.debian.org/debian", timeLimit: 900)
        try prepare(root)
        let new = "\(directory)/debian.img.new"
        try run("rm", "-f", new)
        try run("truncate", "--size", "\(size)", new)
        try run("sh", "-c", "echo 'start=2048, type=83' | sfdisk --quiet '\(new)'")
        try run(
            "mke2fs", "-q", "-F", "-t", "ext3", "-b", "4096", "-E", "offset=\(mebibyte)", "-d", root, new,
            "\((size - mebibyte) / 1024)k")
        guard rename(new, path) == 0 else { throw TestBedError.lastSystemError("rename \(new)") }
    }

    /// This machine's release: the mirror that it uses has it.
    private static func release() throws(TestBedError) -> String {
        let lines = try readText(of: "/etc/os-release").split(separator: "\n")
        return lines.first { $0.hasPrefix("VERSION_CODENAME=") }.map { String($0.dropFirst(17)) } ?? "stable"
    }

    private static func prepare(_ root: String) throws(TestBedError) {
        try run("sh", "-c", "rm -rf '\(root)'/var/cache/apt/archives/*.deb '\(root)'/var/lib/apt/lists/*")
        try writeText("/dev/vda1 / ext3 noatime,errors=remount-ro 0 1\n", to: "\(root)/etc/fstab")
        try writeText("guest\n", to: "\(root)/etc/hostname")
        try writeText(
            """
            #!/bin/sh
            echo '\(bootedMark)' > /dev/ttyS0
            case $(cat /proc/cmdline) in
            *\(Errand.reboot.rawValue)*)
                if mkdir /var/lib/introspect-has-rebooted 2> /dev/null; then
                    sync
                    echo '\(rebootMark)' > /dev/ttyS0
                    systemctl reboot
                else
                    rmdir /var/lib/introspect-has-rebooted
                    systemctl poweroff
                fi ;;
            *)
                systemctl poweroff ;;
            esac

            """, to: "\(root)/usr/local/sbin/introspect-errand")
        chmod("\(root)/usr/local/sbin/introspect-errand", 0o755)
        let units = "\(root)/etc/systemd/system"
        try writeText(
            """
            [Unit]
            Description=Tells that the guest is up
            After=multi-user.target
            [Service]
            Type=oneshot
            ExecStart=/usr/local/sbin/introspect-errand
            [Install]
            WantedBy=multi-user.target

            """, to: "\(units)/introspect-errand.service")
        try run("mkdir", "-p", "\(units)/multi-user.target.wants")
        try run("ln", "-s", "../introspect-errand.service", "\(units)/multi-user.target.wants/")
        // The console is for marks only.
        try run("ln", "-s", "/dev/null", "\(units)/serial-getty@ttyS0.service")
    }
}
