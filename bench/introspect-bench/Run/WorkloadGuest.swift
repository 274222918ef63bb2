import Glibc
import TestBed

/// What the guest of a benchmark is.
enum GuestKind: String, Codable, CaseIterable {
    /// This machine's kernel, at its full speed; the images' volumes come to it over NFS by `introspect-bench attach`.
    case native
    /// A user-mode Linux with the kernel's NFS client; each of its system calls costs some microseconds.
    case uml

    /// How it is told in a report.
    var title: String {
        switch self {
        case .native: "this machine's kernel"
        case .uml: "user-mode Linux"
        }
    }
}

/// A guest that does one step after another.
protocol WorkloadGuest {
    /// Runs a script (`set -eu -o pipefail`) and returns the lines that it writes; what `onPoll` throws ends the step.
    func perform(
        _ script: String, timeLimit: Double, onPoll: () throws(TestBedError) -> Void
    ) throws(TestBedError) -> [String]
}

extension GuestSession: WorkloadGuest {}

/// This machine as a guest: volumes of images on a server, each as a file for a loop device.
final class NativeGuest: WorkloadGuest {
    /// Where the guest's file systems are mounted, and where its scripts keep what they find.
    let directory: String
    /// Where the volumes are.
    let volumes: String
    private let attached: BackgroundProcess
    private var steps = 0

    /// Attaches `volumes` over NFS, or files of this machine when there is no server.
    init(
        _ arguments: [VolumeArgument], of server: (any DatastoreServer)?, network: NetworkNamespace, bed: Bed
    ) throws(TestBedError) {
        let temporary = try TemporaryDirectory(on: bed)
        directory = temporary.path
        volumes = try temporary.makeDirectory("volumes")
        var words = [try Executable.path(of: "introspect-bench"), "attach", volumes]
        for argument in arguments { words += ["--volume", argument.text] }
        if let server {
            words += [
                "--host", NetworkNamespace.serverAddress, "--port", "\(server.port)",
                "--mount-port", "\(server.mountPort)", "--export", server.directory,
            ]
            words = ["nsenter", "--net=/run/netns/\(network.name)"] + words
        }
        attached = try BackgroundProcess(words, logPath: temporary.file("attach.log"), on: bed)
        let mounted = arguments.first.map { "\(volumes)/\($0.name)" } ?? volumes
        try attached.wait(upTo: 10, for: "mounting") { access(mounted, F_OK) == 0 }
        let script = """
            for mount in '\(directory)'/guest*; do
                mountpoint --quiet $mount && umount --lazy $mount
            done
            losetup --noheadings --raw --output NAME,BACK-FILE | while read -r device file; do
                case $file in '\(volumes)'/*) losetup --detach $device;; esac
            done
            true
            """
        bed.register("take the guest's mounts away") { () throws(TestBedError) in
            try Command(["bash", "-c", script]).run()
        }
    }

    func perform(
        _ script: String, timeLimit: Double, onPoll: () throws(TestBedError) -> Void
    ) throws(TestBedError) -> [String] {
        let bed = Bed()
        defer { bed.tearDown() }
        steps += 1
        let file = "\(directory)/step\(steps)"
        try writeText(script, to: file)
        let process = try BackgroundProcess(
            ["bash", "-eu", "-o", "pipefail", file], logPath: "\(file).log", on: bed)
        let deadline = monotonicNanoseconds() + Int(timeLimit * 1e9)
        var status: Int32?
        while status == nil {
            do {
                try onPoll()
            } catch {
                process.kill()
                throw error
            }
            guard monotonicNanoseconds() < deadline else {
                process.kill()
                throw TestBedError("the guest was not done after \(Int(timeLimit)) s\n\(process.log)")
            }
            status = process.waitForEnd(upTo: 0.02)
        }
        let troubles = attached.log
        guard status == 0, troubles.isEmpty else {
            throw TestBedError("a step of the guest's failed\n\(process.log)\(troubles)")
        }
        return process.log.split(separator: "\n").map(String.init)
    }
}
