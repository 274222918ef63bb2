import Glibc
import TestBed
import Testing

extension GuestTests {
    /// QEMU's own NFS client and libnfs's tools, on this machine, in the server's network.
    struct HypervisorToolTests {
        /// A raw image of 96 MiB with data, zeros and a hole.
        private func makeImage(at path: String) throws {
            try run("truncate", "--size", "96M", path)
            try run("dd", "if=/dev/urandom", "of=\(path)", "bs=1M", "count=40", "conv=notrunc", "status=none")
            try run("dd", "if=/dev/zero", "of=\(path)", "bs=1M", "count=8", "seek=8", "conv=notrunc", "status=none")
            try run(
                "dd", "if=/dev/urandom", "of=\(path)", "bs=4093", "count=7", "seek=20000", "conv=notrunc", "status=none"
            )
        }

        @Test func qemuImgConvertsComparesChecksAndMeasures() throws {
            try GuestBed.with(portMapper: true) { bed in
                let local = bed.temporary.file("local.img")
                try makeImage(at: local)
                func qemuImage(_ words: String...) throws -> String {
                    try bed.network.command(["qemu-img"] + words).run()
                }
                let raw = bed.server.url(of: "raw.img")
                let qcow = bed.server.url(of: "disk.qcow2")
                _ = try qemuImage("convert", "-f", "raw", "-O", "raw", local, raw)
                _ = try qemuImage("compare", "-f", "raw", "-F", "raw", local, raw)
                try run("cmp", local, bed.exported("raw.img"))
                _ = try qemuImage("convert", "-f", "raw", "-O", "qcow2", raw, qcow)
                _ = try qemuImage("check", qcow)
                _ = try qemuImage("compare", "-F", "qcow2", "-f", "raw", local, qcow)
                let back = bed.temporary.file("back.img")
                _ = try qemuImage("convert", "-f", "qcow2", "-O", "raw", qcow, back)
                try run("cmp", local, back)
                _ = try qemuImage("bench", "-f", "raw", "-c", "2000", "-d", "16", "-s", "4096", raw)
                _ = try qemuImage("bench", "-f", "raw", "-c", "2000", "-d", "16", "-s", "4096", "-w", raw)
                _ = try qemuImage(
                    "bench", "-f", "raw", "-c", "400", "-d", "8", "-s", "65536", "-w", "--flush-interval=16", raw)
                try bed.server.stop()
            }
        }

        @Test func libnfsToolsListCopyAndPrint() throws {
            try GuestBed.with(portMapper: true) { bed in
                let local = bed.temporary.file("local.img")
                try makeImage(at: local)
                try writeText("hello\n", to: bed.exported("small"))
                let ports = "?nfsport=\(bed.server.port)&mountport=\(bed.server.mountPort)"
                for query in ["", ports] {
                    let copy = "copy\(query.isEmpty ? 0 : 1).img"
                    try bed.network.command(["nfs-cp", local, bed.server.url(of: copy) + query]).run()
                    try run("cmp", local, bed.exported(copy))
                    let back = bed.temporary.file("back-\(copy)")
                    try bed.network.command(["nfs-cp", bed.server.url(of: copy) + query, back]).run()
                    try run("cmp", local, back)
                    let text = try bed.network.command(["nfs-cat", bed.server.url(of: "small") + query]).run()
                    #expect(text == "hello\n")
                    let listing = try bed.network.command(["nfs-ls", bed.server.url(of: "") + query]).run()
                    #expect(listing.contains(copy) && listing.contains("small"))
                }
                let exports = try bed.network.command([
                    "showmount", "-e", "--no-headers", NetworkNamespace.serverAddress,
                ]).run()
                #expect(exports.contains(bed.server.directory))
            }
        }
    }
}
