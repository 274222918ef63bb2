import Glibc
import TestBed

/// What the guest does, each from cold caches.
enum DemoWorkload: String, CaseIterable {
    case find
    case du
    case stat
    case rm

    /// How it is told in the report.
    var title: String {
        switch self {
        case .find: "find -name (no such file)"
        case .du: "du -s"
        case .stat: "stat of every file"
        case .rm: "rm -r"
        }
    }

    /// The command, in the guest.
    var command: String {
        switch self {
        case .find: "find /mnt/guest -name no-such-file"
        case .du: "du -s /mnt/guest > /dev/null"
        case .stat: "find /mnt/guest -print0 | xargs -0 stat --format='%i %s %Y' > /dev/null"
        case .rm: "rm -r /mnt/guest/*"
        }
    }
}

/// What one workload took.
struct DemoMeasurement {
    /// Seconds, in the guest, until the command was done.
    var seconds = 0.0
    /// Seconds that `sync` took after it.
    var syncSeconds = 0.0
    /// What the disk did for both.
    var disk = DiskStatistics()
    /// What the server's cache did; nil with introspection off.
    var cache: ServerReport.Cache?
}

/// What a mode of the server took over all workloads.
struct DemoOutcome {
    var measurements: [DemoWorkload: DemoMeasurement] = [:]
    /// The last scan, and the class map after it; nil with introspection off.
    var image: ServerReport.Image?
    /// What the disk did for the scan.
    var scanDisk = DiskStatistics()
}

/// The parts that the demo's modes have in common.
struct DemoStand {
    let disk: DiskModel
    let guestDisk: GuestDisk
    let network: NetworkNamespace
    let temporary: TemporaryDirectory
    let bed: Bed
    let progress: Progress

    private static let image = "guest.img"
    private static let pieces = 64

    /// Runs all workloads on a fresh copy of the guest's disk.
    func run(introspects: Bool) throws -> DemoOutcome {
        let mode = introspects ? "on" : "off"
        progress.say(
            "introspection \(mode): putting the guest disk on the slow disk, in \(Self.pieces) pieces among others")
        try disk.setTiming(false)
        let export = "\(disk.directory)/datastore"
        try TestBed.run("mkdir", "-p", export)
        try TestBed.run("find", export, "-mindepth", "1", "-delete")
        try disk.place([(guestDisk.path, "\(export)/\(Self.image)")], pieces: Self.pieces)
        var options = IntrospectServer.Options()
        options.introspects = introspects
        let server = IntrospectServer(
            serving: export, options: options, network: network, in: temporary, bed: bed)
        let conductor = DemoConductor(stand: self, server: server, introspects: introspects)
        let guest = UserModeLinux(on: network, in: temporary)
        progress.say("introspection \(mode): booting the guest")
        try guest.run(script(for: server), timeLimit: 600, onLine: conductor.hear)
        if let failure = conductor.failure { throw failure }
        try server.stop()
        return conductor.outcome
    }

    /// The guest's side of the conversation with ``DemoConductor``. It asks for cold caches, and knows that it has
    /// them by a file in the export.
    private func script(for server: IntrospectServer) -> String {
        let mount = "mount -i -t nfs -o \(server.mountOptions) \(server.mountSource) /mnt/nfs"
        let steps = DemoWorkload.allCases.map { workload in
            """
            echo '\(DemoConductor.coldPlease)\(workload.rawValue)'
            await '\(DemoConductor.coldMark)\(workload.rawValue)'
            activate /mnt/nfs/\(Self.image)
            mount -t ext3 -o noatime $root /mnt/guest
            begin=${EPOCHREALTIME/./}
            \(workload.command)
            end=${EPOCHREALTIME/./}
            sync
            synced=${EPOCHREALTIME/./}
            echo "\(DemoConductor.done)\(workload.rawValue) $((end - begin)) $((synced - end))"
            umount /mnt/guest
            deactivate
            umount /mnt/nfs
            """
        }
        return """
            \(GuestDisk.guestFunctions)
            await() {
                until \(mount) 2> /run/mount.err && test -e "/mnt/nfs/$1"; do
                    umount /mnt/nfs 2> /dev/null || true
                    sleep 0.2
                done
                echo 3 > /proc/sys/vm/drop_caches
            }
            \(steps.joined(separator: "\n"))
            echo '\(DemoConductor.coldPlease)\(DemoConductor.check)'
            await '\(DemoConductor.coldMark)\(DemoConductor.check)'
            activate /mnt/nfs/\(Self.image)
            e2fsck -fn $root
            deactivate
            umount /mnt/nfs

            """
    }
}
