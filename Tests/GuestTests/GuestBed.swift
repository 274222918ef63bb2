import Glibc
import TestBed
import Testing

/// Tests with a real kernel's NFS client, in user-mode Linux, and with QEMU's. They need root, tap and loop devices,
/// and take turns.
@Suite(.serialized, .enabled(if: canRunGuests, "needs root and a tap device"))
enum GuestTests {}

private let canRunGuests = geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0

/// An exported directory, a server for it, and a guest beside it.
struct GuestBed {
    let bed: Bed
    let temporary: TemporaryDirectory
    let network: NetworkNamespace
    let server: any DatastoreServer
    var guest: UserModeLinux

    /// `INTROSPECT_TEST_SERVER=ganesha` runs the tests against NFS-Ganesha: what fails there too is the test's fault.
    ///
    /// `serverOptions` are further words for `introspectd`; `DIR` in them becomes the bed's temporary directory.
    init(on bed: Bed, withPortMapper: Bool = false, serverOptions: [String] = []) throws {
        self.bed = bed
        temporary = try TemporaryDirectory(on: bed)
        network = try NetworkNamespace(on: bed)
        let export = try temporary.makeDirectory("export")
        let isPeer = getenv("INTROSPECT_TEST_SERVER").map { String(cString: $0) } == "ganesha"
        if isPeer || withPortMapper {
            try network.startPortMapper(logPath: temporary.file("rpcbind.log"), on: bed)
        }
        if isPeer {
            server = GaneshaServer(serving: export, network: network, in: temporary, bed: bed)
        } else {
            var options = IntrospectServer.Options()
            options.registers = withPortMapper
            let directory = temporary.path
            options.extra = serverOptions.map { $0.replacing("DIR", with: directory) }
            server = IntrospectServer(serving: export, options: options, network: network, in: temporary, bed: bed)
        }
        guest = UserModeLinux(on: network, in: temporary)
    }

    /// Runs `body` with a bed whose server is started, and which goes away afterwards.
    static func with(
        portMapper: Bool = false, serverOptions: [String] = [], _ body: (GuestBed) throws -> Void
    ) throws {
        try Bed.with { bed in
            let guestBed = try GuestBed(on: bed, withPortMapper: portMapper, serverOptions: serverOptions)
            try guestBed.server.start()
            do {
                try body(guestBed)
            } catch {
                Issue.record("the server's log:\n\(guestBed.server.log)")
                throw error
            }
        }
    }

    /// A script's first lines: the export is on /mnt/nfs.
    var mountExport: String { "mount -i -t nfs -o \(server.mountOptions) \(server.mountSource) /mnt/nfs" }

    /// The path of an exported file on this machine.
    func exported(_ name: String) -> String { "\(server.directory)/\(name)" }
}
