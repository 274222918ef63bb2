import Glibc

/// A guest: a Linux kernel of its own, as a process, with this machine's files as its root.
///
/// Its root is read-only but for what ``shares`` names. It has the address ``NetworkNamespace/guestAddress``, and
/// modules for NFS, loop devices, ext4 and device-mapper are loaded.
public struct UserModeLinux: Sendable {
    /// The network whose tap device it takes; one guest at a time.
    public let network: NetworkNamespace
    /// Its memory, as `linux.uml mem=` takes it.
    public var memory = "512M"
    /// Directories of this machine that it may write to, at the same paths.
    public var shares: [String] = []
    private let temporary: TemporaryDirectory

    /// A guest that has not started.
    public init(on network: NetworkNamespace, in temporary: TemporaryDirectory) {
        self.network = network
        self.temporary = temporary
    }

    private static let beginMark = "@guest-begins"
    private static let endMark = "@guest-ends "

    /// Boots, runs `script` with bash (`set -eu -o pipefail`), and powers off.
    ///
    /// - Parameter onLine: called with each line that the script writes, as it comes.
    /// - Returns: the script's exit status and its output, standard error included.
    /// - Throws: when the guest dies, or `timeLimit` seconds are over.
    public func result(
        of script: String, timeLimit: Double = 120, onLine: ((String) -> Void)? = nil
    ) throws(TestBedError) -> Command.Result {
        let words = try commandLine(for: script)
        var lines: [String] = []
        var status: Int32?
        var hasBegun = false
        let result = try network.command(words, timeLimit: timeLimit).result { line in
            if line.hasPrefix(Self.endMark) {
                status = Int32(line.dropFirst(Self.endMark.count))
            } else if line == Self.beginMark {
                hasBegun = true
            } else if hasBegun, status == nil {
                lines.append(line)
                onLine?(line)
            }
        }
        guard let status else {
            throw TestBedError("the guest ended early\n\(result.output)\(result.errorOutput)")
        }
        return Command.Result(
            status: status, output: lines.map { $0 + "\n" }.joined(), errorOutput: result.errorOutput)
    }

    /// Boots, and runs `script` in the background; what it writes is found in the log.
    func start(_ script: String, logPath: String, on bed: Bed) throws(TestBedError) -> BackgroundProcess {
        let process = try BackgroundProcess(
            network.wrap(try commandLine(for: script)), logPath: logPath, on: bed)
        // The guest's own processes are ours too, and hold what SIGTERM to the kernel would leave.
        bed.register("kill the guest") { () throws(TestBedError) in process.kill() }
        return process
    }

    private func commandLine(for script: String) throws(TestBedError) -> [String] {
        try temporary.write(script, to: "guest-script")
        let start = try temporary.write(initScript, to: "guest-init", mode: 0o755)
        return [
            "linux.uml", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "init=\(start)", "mem=\(memory)",
            // Without gro=1 the driver drops every frame that the host's TCP did not cut into packets.
            "con=null", "con0=fd:0,fd:1", "vec0:transport=tap,ifname=\(NetworkNamespace.tap),gro=1", "quiet",
        ]
    }

    /// As ``result(of:timeLimit:onLine:)``, but throws, with the output, unless the script ends with status 0.
    @discardableResult
    public func run(
        _ script: String, timeLimit: Double = 120, onLine: ((String) -> Void)? = nil
    ) throws(TestBedError) -> String {
        let result = try result(of: script, timeLimit: timeLimit, onLine: onLine)
        guard result.status == 0 else {
            throw TestBedError("the guest's script: status \(result.status)\n\(result.output)")
        }
        return result.output
    }

    /// The modules lie where Debian's user-mode-linux puts them; the kernel's own requests for more go there too.
    private var initScript: String {
        let shareMounts = shares.map { "mount -t hostfs -o '\($0)' share '\($0)'" }.joined(separator: "\n")
        return """
            #!/bin/bash
            export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C
            stty -onlcr
            mount -t proc proc /proc
            mount -t sysfs sysfs /sys
            mount -t tmpfs tmpfs /run
            mount -t tmpfs tmpfs /mnt
            mkdir -p /run/lock /run/kernel/lib /mnt/nfs /mnt/guest
            ln -s /usr/lib/uml/modules /run/kernel/lib/modules
            printf '#!/bin/sh\\nexec /sbin/modprobe -d /run/kernel "$@"\\n' > /run/modprobe
            chmod +x /run/modprobe
            echo /run/modprobe > /proc/sys/kernel/modprobe
            /run/modprobe -a nfsv3 loop ext4 dm-mod
            ip link set lo up
            ip address add \(NetworkNamespace.guestAddress)/24 dev vec0
            ip link set vec0 up
            \(shareMounts)
            echo '\(Self.beginMark)'
            bash -eu -o pipefail '\(temporary.file("guest-script"))' 2>&1
            echo "\(Self.endMark)$?"
            poweroff -f

            """
    }
}
