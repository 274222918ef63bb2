import Glibc

/// A virtual machine under QEMU whose disk is an image on a ``DatastoreServer``, read and written by QEMU's own NFS
/// client: what a hypervisor is to a datastore.
///
/// QEMU asks the port mapper for the ports: ``NetworkNamespace/startPortMapper(logPath:on:)`` first, and a server that
/// registers.
public struct QEMUGuest: Sendable {
    /// The network that it reaches the server in.
    public let network: NetworkNamespace
    /// What to boot.
    public let kernel: GuestKernel
    /// The initial file system.
    public let initialFileSystem: String
    /// Its memory, as QEMU takes it.
    public var memory = "512M"
    /// What runs its instructions: `tcg` anywhere, `kvm` where the machine lets it.
    public var accelerator = "tcg"

    /// A virtual machine that has not started.
    public init(on network: NetworkNamespace, kernel: GuestKernel, initialFileSystem: String) {
        self.network = network
        self.kernel = kernel
        self.initialFileSystem = initialFileSystem
    }

    /// Boots from `disk`, a URL or a path, and waits until the guest powers off.
    ///
    /// - Parameters:
    ///   - words: what the kernel's command line says beside the console.
    ///   - onLine: called with each line of the serial console, as it comes, with the seconds since the start.
    /// - Returns: everything that the console said.
    /// - Throws: when QEMU fails, or `timeLimit` seconds are over.
    @discardableResult
    public func run(
        disk: String, words: [String] = [], timeLimit: Double, onLine: @escaping (String, Double) -> Void = { _, _ in }
    ) throws(TestBedError) -> String {
        let command = network.command(
            [
                "qemu-system-x86_64", "-accel", accelerator, "-m", memory, "-smp", "1", "-nodefaults",
                "-no-user-config", "-display", "none", "-serial", "stdio", "-kernel", kernel.path,
                "-initrd", initialFileSystem, "-append",
                (["console=ttyS0", "quiet", "panic=-1", "systemd.show_status=0"] + words).joined(separator: " "),
                "-drive", "file=\(disk),format=raw,if=virtio,cache=none",
            ], timeLimit: timeLimit)
        let start = monotonicNanoseconds()
        let result = try command.result { line in
            let line = line.hasSuffix("\r") ? String(line.dropLast()) : line
            onLine(line, Double(monotonicNanoseconds() - start) / 1e9)
        }
        guard result.status == 0 else {
            throw TestBedError("QEMU: status \(result.status)\n\(result.output)\(result.errorOutput)")
        }
        return result.output
    }

    /// What a ``DebianImage`` took to boot.
    public struct Boot: Hashable, Sendable, Codable {
        /// Seconds from QEMU's start to multi-user.
        public var cold: Double
        /// Seconds from the guest's wish to reboot until it was at multi-user again; nil when it only powered off.
        public var reboot: Double?
    }

    /// Boots a copy of a ``DebianImage``, has it do the errand, and waits until it is off.
    ///
    /// - Parameter onMark: called when the guest is up, when it begins to reboot, and when it is up again.
    public func boot(
        disk: String, errand: DebianImage.Errand, timeLimit: Double, onMark: @escaping (String) -> Void = { _ in }
    ) throws(TestBedError) -> Boot {
        var boots: [Double] = []
        var rebootBegan: Double?
        let output = try run(disk: disk, words: [errand.rawValue], timeLimit: timeLimit) { line, time in
            if line.hasSuffix(DebianImage.bootedMark) {
                boots.append(time)
                onMark(DebianImage.bootedMark)
            } else if line.hasSuffix(DebianImage.rebootMark) {
                rebootBegan = time
                onMark(DebianImage.rebootMark)
            }
        }
        guard let cold = boots.first, boots.count == (errand == .reboot ? 2 : 1) else {
            throw TestBedError("the guest was up \(boots.count) times\n\(output)")
        }
        return Boot(cold: cold, reboot: rebootBegan.map { boots[1] - $0 })
    }
}
