import Foundation
import Glibc
import TestBed
import Testing

/// `introspectctl` and the socket that it talks to, with a server that runs.
struct ControlTests {
    /// A server with one image that a guest could have made, which is scanned.
    private struct Stand {
        let server: LocalServer
        let socket: String
        let image: String
        var directory: String { String(image.dropLast("/disk.img".count)) }

        init(_ options: [String] = [], in temporary: TemporaryDirectory, on bed: Bed) throws {
            let export = try temporary.makeDirectory("export")
            image = "\(export)/disk.img"
            let guest = try temporary.makeDirectory("guest")
            for number in 0..<50 { try run("mkdir", "\(guest)/\(number)") }
            try run("mke2fs", "-q", "-F", "-t", "ext4", "-d", guest, image, "16M")
            server = try LocalServer(serving: export, options, in: temporary, on: bed)
            socket = temporary.file("state/control")
            try server.waitForLog("disk.img: scanned in")
        }

        func control(_ words: String...) throws -> Command.Result {
            try Command(
                [try Executable.path(of: "introspectctl")] + words + ["--control", socket], timeLimit: 30
            ).result()
        }

        func controlElsewhere(_ socket: String) throws -> Command.Result {
            try Command(
                [try Executable.path(of: "introspectctl"), "status", "--control", socket], timeLimit: 30
            ).result()
        }

        /// What a JSON object of the output has under `keys`.
        func value(of keys: String..., in result: Command.Result) throws -> Any {
            var value = try JSONSerialization.jsonObject(with: Data(result.output.utf8))
            for key in keys { value = try #require((value as? [String: Any])?[key]) }
            return value
        }
    }

    private func withStand(_ options: [String] = [], _ body: (Stand, TemporaryDirectory) throws -> Void) throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let stand = try Stand(options, in: temporary, on: bed)
            try body(stand, temporary)
            #expect(stand.server.process.stop() == 0)
            #expect(access(stand.socket, F_OK) != 0, "the socket goes with the server")
        }
    }

    @Test func everyQuestionIsAnsweredForPeopleAndPrograms() throws {
        try withStand { stand, _ in
            let status = try stand.control("status", "--json")
            #expect(try stand.value(of: "images", "current", in: status) as? Int == 1)
            #expect(try stand.value(of: "processIdentifier", in: status) as? Int32 == stand.server.process.identifier)
            #expect(try stand.control("status").output.contains("1 current"))
            #expect(try stand.control("images").output.contains("\(stand.image)"))
            let statistics = try stand.control("stats", "--json")
            let directories = try stand.value(of: "cache", "resident", "directory", in: statistics) as? Int
            #expect(directories ?? 0 >= 50 / 4, "blocks of 1 KiB, four in a page")
            #expect(try stand.control("stats").output.contains("directory"))
            #expect(try stand.control("tier", "list").output == "none\n")
            #expect(try stand.control("drain").status == 0)
            let top = try stand.control("top", "--json", "--count", "2", "--interval", "0.2")
            #expect(top.status == 0 && top.output.split(separator: "\n").count == 2)
            for name in [stand.image, "disk.img", "export/disk.img"] {
                let warmed = try stand.control("warm", name, "--json")
                let bytes = try #require(try stand.value(of: "metadataBytes", in: warmed) as? Int)
                #expect(bytes > 50 * 4096)
                #expect(try stand.value(of: "cachedBytes", in: warmed) as? Int == bytes)
            }
        }
    }

    /// Clients choose the names of images: none writes lines of its own, or to the terminal.
    @Test func namesOfImagesAreShownEscaped() throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let export = try temporary.makeDirectory("export")
            let log = try temporary.makeDirectory("ssd")
            let image = "\(export)/a\r\n2026 error introspectd: forged\u{1B}[31m\u{202E}.img"
            try run("mke2fs", "-q", "-F", "-t", "ext4", image, "16M")
            let options = ["--ssd", log, "--ssd-mode", "writeback", "--ssd-size", "64M"]
            let server = try LocalServer(serving: export, options, in: temporary, on: bed)
            let shown = #"/a\x0D\x0A2026 error introspectd: forged\x1B[31m\xE2\x80\xAE.img"#
            try server.waitForLog("\(export)\(shown): scanned in")
            #expect(!server.process.log.contains("\u{1B}"))
            #expect(!server.process.log.contains("\n2026 error"))
            let program = try Executable.path(of: "introspectctl")
            let socket = temporary.file("state/control")
            for words in [["images"], ["warm", image], ["warm", "missing\u{1B}[2J"]] {
                let result = try Command([program] + words + ["--control", socket], timeLimit: 30).result()
                #expect(result.status == (words.last?.hasPrefix("missing") == true ? 2 : 0))
                let all = result.output + result.errorOutput
                #expect(!all.contains("\u{1B}") && !all.contains("\r") && !all.contains("\u{202E}"))
                #expect(all.contains(words.last?.hasPrefix("missing") == true ? #"missing\x1B[2J"# : shown))
            }
            #expect(server.process.stop() == 0)
        }
    }

    /// Nor does one write to the terminal of who looks on, by names of images or of what is exported.
    @Test func namesAreShownEscapedByTopAndStatus() throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let export = try temporary.makeDirectory("export\r\nforged\u{1B}[2J")
            let name = "a\r\nforged\u{1B}[31m\u{202E}.img"
            try run("mke2fs", "-q", "-F", "-t", "ext4", "\(export)/\(name)", "16M")
            let server = try LocalServer(serving: export, in: temporary, on: bed)
            try server.waitForLog(".img: scanned in")
            let program = try Executable.path(of: "introspectctl")
            let socket = temporary.file("state/control")
            func expectEscaped(_ words: [String], _ shown: String) throws {
                let result = try Command([program] + words + ["--control", socket], timeLimit: 30).result()
                #expect(result.status == 0)
                #expect(result.output.contains(shown), "\(result.output)")
                let steering = "\r\u{1B}\u{202E}".unicodeScalars
                #expect(!result.output.unicodeScalars.contains { steering.contains($0) })
                #expect(!result.output.split(separator: "\n").contains { $0.hasPrefix("forged") })
            }
            try expectEscaped(["status"], #"/export\x0D\x0Aforged\x1B[2J"#)
            let reader = ImageReader(of: name, on: server)
            defer { reader.end() }
            try server.process.wait(upTo: 30, for: "a READ") { reader.count > 0 }
            try expectEscaped(
                ["top", "--count", "2", "--interval", "0.5"], #"/a\x0D\x0Aforged\x1B[31m\xE2\x80\xAE.img "#)
            reader.end()
            #expect(server.process.stop() == 0)
        }
    }

    /// Of a server that escapes nothing, too.
    @Test func topShowsEscapedWhateverTheServerSays() throws {
        try withStand { stand, temporary in
            func statistics() throws -> String {
                let client = try LocalSocket(connectedTo: stand.socket)
                client.send(Array("{\"command\":\"statistics\"}\n".utf8))
                client.endSending()
                return client.receive(within: 10).replacing("disk.img", with: #"a\r\nforged\u001B[31m.img"#)
            }
            let before = try statistics()
            let reader = ImageReader(of: "disk.img", on: stand.server)
            defer { reader.end() }
            try stand.server.process.wait(upTo: 30, for: "a READ") { reader.count > 0 }
            let after = try statistics()
            let other = temporary.file("other")
            let listener = try LocalSocket(listeningAt: other)
            let answers = Thread { for answer in [before, after] { listener.answerOnce(with: answer) } }
            answers.start()
            let words = ["top", "--count", "1", "--interval", "0.1", "--control", other]
            let result = try Command([try Executable.path(of: "introspectctl")] + words, timeLimit: 30).result()
            #expect(result.status == 0, "\(result.errorOutput)")
            #expect(result.output.contains(#"/a\x0D\x0Aforged\x1B[31m.img "#), "\(result.output)")
            let steering = "\r\u{1B}".unicodeScalars
            #expect(!result.output.unicodeScalars.contains { steering.contains($0) })
        }
    }

    /// What is not looked into, or is damaged, is listed with the reason.
    @Test func imagesThatAreNotFollowedAreListedWithTheReason() throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let export = try temporary.makeDirectory("export")
            try run("qemu-img", "create", "-q", "-f", "qcow2", "\(export)/foreign.img", "16M")
            // Smaller files are no disks that would be worth a look.
            try run("truncate", "--size", "2M", "\(export)/foreign.img")
            try run("mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", "\(export)/damaged.img", "16M")
            try run(
                "bash", "-c", "printf '\\x63' | dd of=\(export)/damaged.img bs=1 seek=1048 conv=notrunc status=none")
            try run("mke2fs", "-q", "-F", "-t", "ext4", "\(export)/good.img", "16M")
            let server = try LocalServer(serving: export, in: temporary, on: bed)
            try server.waitForLog("good.img: scanned in")
            try server.waitForLog("foreign.img: a ")
            try server.waitForLog("s_log_block_size")
            let words = [
                try Executable.path(of: "introspectctl"), "images", "--control", temporary.file("state/control"),
            ]
            let lines = try Command(words, timeLimit: 30).run().split(separator: "\n")
            #expect(
                lines.contains { $0.contains("/foreign.img ") && $0.contains("not understood") && $0.contains("QCOW2") }
            )
            #expect(lines.contains { $0.contains("/damaged.img ") && $0.contains("s_log_block_size at byte 24 is 99") })
            #expect(lines.contains { $0.contains("/good.img ") && $0.contains(" current ") })
            let json = try Command(words + ["--json"], timeLimit: 30).run()
            let images = try JSONSerialization.jsonObject(with: Data(json.utf8)) as? [[String: Any]] ?? []
            let foreign = images.first { ($0["path"] as? String)?.hasSuffix("/foreign.img") == true }
            #expect(foreign?["state"] as? String == "not understood" && foreign?["reason"] != nil)
            let status = try Command([words[0], "status"] + words[2...], timeLimit: 30).run()
            #expect(status.contains("1 not understood") && status.contains(" with problems"))
            unlink("\(export)/foreign.img")
            #expect(!(try Command(words, timeLimit: 30).run().contains("foreign.img")))
            #expect(server.process.stop() == 0)
        }
    }

    /// An image whose newest blocks are in a log that is not at hand.
    @Test func anImageThatIsRefusedIsListedWithTheReason() throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let export = try temporary.makeDirectory("export")
            let image = "\(export)/refused.img"
            for name in ["refused.img", "good.img"] {
                try run("mke2fs", "-q", "-F", "-t", "ext3", "-b", "4096", "\(export)/\(name)", "16M")
            }
            let log = try temporary.makeDirectory("ssd")
            let options = ["--ssd", log, "--ssd-mode", "writeback", "--ssd-size", "64M"]
            let first = try LocalServer(serving: export, options, in: temporary, on: bed)
            try first.waitForLog("refused.img: scanned in")
            let writer = InodeTableWriter(of: "refused.img", on: first)
            try first.process.wait(upTo: 30, for: "a WRITE") { writer.count > 0 }
            // While it goes on: when nobody writes, what the log has is moved to the image.
            first.process.kill()
            try writer.waitForEnd()
            let server = try LocalServer(serving: export, in: temporary, on: bed)
            let (program, socket) = (try Executable.path(of: "introspectctl"), temporary.file("state/control"))
            func ask(_ words: String...) throws -> String {
                try Command([program] + words + ["--control", socket], timeLimit: 30).run()
            }
            try server.process.wait(upTo: 30, for: "an answer") {
                (try? ask("status"))?.contains("1 current") == true
            }
            let lines = try ask("images").split(separator: "\n")
            let refused = lines.filter { $0.hasPrefix("\(image) ") }
            #expect(refused.count == 1 && refused[0].contains(" refused "), "\(lines)")
            #expect(refused.first?.contains("no directory of a redirect log is named") == true, "\(lines)")
            #expect(lines.contains { $0.contains("\(export)/good.img ") && $0.contains(" current ") })
            let json = try JSONSerialization.jsonObject(with: Data(ask("images", "--json").utf8))
            let entry = (json as? [[String: Any]] ?? []).first { $0["path"] as? String == image }
            #expect(entry?["state"] as? String == "refused" && (entry?["reason"] as? String)?.isEmpty == false)
            #expect(try ask("status").contains("1 refused"))
            let status = try JSONSerialization.jsonObject(with: Data(ask("status", "--json").utf8)) as? [String: Any]
            #expect((status?["images"] as? [String: Int])?["refused"] == 1)
            #expect(server.process.stop() == 0)
        }
    }

    @Test func reportsOfImagesOfOneNameAreFilesOfTheirOwn() throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let export = try temporary.makeDirectory("export")
            let long = String(repeating: "d", count: 150)
            let folders = ["one", "two", "a%2Fb", "\(long)/\(long)", "\(long)/x\(long.dropFirst())"]
            for folder in folders {
                try run("mkdir", "-p", "\(export)/\(folder)")
                try run("mke2fs", "-q", "-F", "-t", "ext4", "\(export)/\(folder)/disk.img", "16M")
            }
            let server = try LocalServer(serving: export, ["--report-files"], in: temporary, on: bed)
            for folder in folders { try server.waitForLog("/\(folder)/disk.img: scanned in") }
            try server.writeReport()
            #expect(server.process.stop() == 0)
            let files = try FileManager.default.contentsOfDirectory(atPath: server.reportDirectory).sorted()
            for ending in ["runs", "files"] {
                let own = files.filter { $0.hasSuffix("disk.img.\(ending)") }
                #expect(own.count == folders.count, "\(files)")
                for name in ["one%2Fdisk.img", "two%2Fdisk.img", "a%252Fb%2Fdisk.img"] {
                    #expect(own.contains("\(name).\(ending)"))
                }
            }
        }
    }

    @Test func anAnswerThatCannotBePrintedIsAFailure() throws {
        try withStand { stand, _ in
            let program = try Executable.path(of: "introspectctl")
            for words in ["status", "images", "stats", "stats --json", "tier list", "top --count 1 --interval 0.1"] {
                let command = "\(program) \(words) --control \(stand.socket)"
                let full = try Command(["/bin/bash", "-c", "\(command) > /dev/full"], timeLimit: 30).result()
                #expect(full.status == 1)
                #expect(full.errorOutput == "introspectctl: standard output: No space left on device\n")
                let script = "trap '' PIPE; \(command) | true; exit ${PIPESTATUS[0]}"
                let closed = try Command(["/bin/bash", "-c", script], timeLimit: 30).result()
                #expect(closed.status == 0 && closed.errorOutput.isEmpty)
            }
        }
    }

    @Test func logIsListedDrainedDetachedAndAttached() throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let log = try temporary.makeDirectory("ssd")
            let options = ["--ssd", log, "--ssd-mode", "writeback", "--ssd-size", "64M"]
            let stand = try Stand(options, in: temporary, on: bed)
            let list = try stand.control("tier", "list", "--json")
            #expect(try stand.value(of: "state", in: list) as? String == "attached")
            #expect(try stand.value(of: "mode", in: list) as? String == "writeback")
            #expect(try stand.control("drain", "disk.img").status == 0)
            #expect(try stand.control("tier", "detach").output.contains("detached"))
            #expect(try stand.control("tier", "attach", "--json").output.contains("\"attached\""))
            let again = try stand.control("tier", "attach")
            #expect(again.status == 1 && !again.errorOutput.isEmpty)
            #expect(stand.server.process.stop() == 0)
        }
    }

    @Test func modesOfImagesAreShownAndCheckedAndOnlyAChangedImageIsResolved() throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let log = try temporary.makeDirectory("ssd")
            let options = ["--ssd", log, "--ssd-mode", "writeback", "--ssd-size", "64M"]
            let stand = try Stand(options + ["--ssd-mode-for", "disk*=writethrough"], in: temporary, on: bed)
            #expect(try stand.control("tier", "list").output.contains("\(stand.directory)/disk*=writethrough"))
            let resolved = try stand.control("tier", "resolve", "disk.img", "--keep", "log")
            #expect(resolved.status == 1 && resolved.errorOutput.contains("is not refused"))
            #expect(try stand.control("tier", "resolve", "disk.img").status == 64)
            #expect(stand.server.process.stop() == 0)
            let daemon = try Executable.path(of: "introspectd")
            for (words, complaint) in [
                (["--ssd", log, "--ssd-mode-for", "disk*=fast"], "disk*=fast"),
                (["--ssd-mode-for", "disk*=off"], "names no directory"),
            ] {
                let result = try Command([daemon, "serve", stand.directory] + words, timeLimit: 20).result()
                #expect(result.status == 64 && result.errorOutput.contains(complaint))
            }
        }
    }

    @Test func failuresHaveAStatusAndALine() throws {
        try withStand { stand, temporary in
            for words in [["warm", "other.img"], ["drain", "isk.img"]] {
                let result = try stand.control(words[0], words[1])
                #expect(result.status == 2)
                #expect(result.errorOutput == "introspectctl: \(words[1]): no such image is served\n")
            }
            let detach = try stand.control("warm")
            #expect(detach.status == 64)
            let missing = temporary.file("missing")
            let result = try Command(
                [try Executable.path(of: "introspectctl"), "status", "--control", missing], timeLimit: 10
            ).result()
            #expect(result.status == 69)
            #expect(result.errorOutput.contains("no introspectd listens at \(missing): No such file"))
            let empty = try stand.controlElsewhere("")
            #expect(empty.status == 69 && empty.errorOutput.contains("the path is empty"))
            // What answers otherwise is told in a line that says what to look at.
            let other = temporary.file("other")
            let listener = try LocalSocket(listeningAt: other)
            let answer = Thread { listener.answerOnce(with: "{\"status\":{\"x\":1}}\n") }
            answer.start()
            let strange = try stand.controlElsewhere(other)
            #expect(
                strange.status == 69 && strange.errorOutput.contains("\(other) gave an answer that is not understood"))
            #expect(strange.errorOutput.split(separator: "\n").count == 1)
        }
    }

    /// Only the server's user may open the socket, one server of two has it, and one that was killed leaves nothing
    /// that would keep the next from starting.
    @Test func socketBelongsToOneServer() throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let export = try temporary.makeDirectory("export")
            let export2 = try temporary.makeDirectory("export2")
            let socket = temporary.file("ctl")
            let first = try LocalServer(serving: export, ["--control", socket], in: temporary, on: bed)
            var status = stat()
            // It is made after the ports for clients.
            try first.process.wait(upTo: 20, for: "a socket") { lstat(socket, &status) == 0 }
            #expect(status.st_mode & 0o7777 == 0o600)
            let second = try Command(
                [
                    try Executable.path(of: "introspectd"), "serve", export2, "--port", "0", "--mount-port", "0",
                    "--no-rpcbind", "--state", temporary.file("other"), "--control", socket,
                ], timeLimit: 20
            ).result()
            #expect(second.status == 1 && second.errorOutput.contains("\(socket): another server listens there"))
            first.process.kill()
            let third = try LocalServer(serving: export, ["--control", socket], in: temporary, on: bed)
            // The log is that of the first, too: only an answer tells that this one has come up.
            try third.process.wait(upTo: 20, for: "an answer") {
                let words = ["introspectctl", "status", "--control", socket]
                let program = try? Executable.path(of: words[0])
                let answer = try? Command([program ?? words[0]] + words.dropFirst(), timeLimit: 10).result()
                return answer?.output.contains(export) == true
            }
            #expect(third.process.stop() == 0)
            let file = try temporary.write("text", to: "file")
            let fourth = try Command(
                [
                    try Executable.path(of: "introspectd"), "serve", export2, "--port", "0", "--mount-port", "0",
                    "--no-rpcbind", "--state", temporary.file("other"), "--control", file,
                ], timeLimit: 20
            ).result()
            #expect(fourth.status == 1 && fourth.errorOutput.contains("\(file): is no socket"))
            #expect(access(file, F_OK) == 0)
        }
    }

    /// Lines that are no requests: each is answered with an error or not at all, and the next client is served.
    @Test func nonsenseIsAnsweredAndCostsNothing() throws {
        try withStand { stand, _ in
            let nonsense: [[UInt8]] = [
                [], Array("\n".utf8), Array("status\n".utf8), Array("{\"command\":\"stop\"}\n".utf8),
                Array("{\"command\":\"warm\"}\n".utf8), Array("{\"command\":7,\"image\":[]}\n".utf8),
                (0..<4096).map { UInt8(truncatingIfNeeded: $0 &* 197 &+ 13) } + [10],
                [UInt8](repeating: UInt8(ascii: "["), count: 16_000) + [10],
                [UInt8](repeating: UInt8(ascii: "x"), count: 1 << 20),
            ]
            for bytes in nonsense {
                let client = try LocalSocket(connectedTo: stand.socket)
                client.send(bytes)
                client.endSending()
                #expect(client.receive(within: 10).contains("\"badRequest\""))
            }
            // As many as come and say nothing do not lock the next one out for longer than their time.
            let silent = try (0..<100).map { _ in try LocalSocket(connectedTo: stand.socket) }
            let deadline = ContinuousClock.now + .seconds(20)
            var status: Int32 = -1
            while status != 0, ContinuousClock.now < deadline {
                status = try stand.control("status").status
            }
            #expect(status == 0)
            _ = silent.count
        }
    }

    @Test func requestWithoutALineEndIsTaken() throws {
        try withStand { stand, _ in
            let client = try LocalSocket(connectedTo: stand.socket)
            client.send(Array("{\"command\":\"tier\"}".utf8))
            client.endSending()
            #expect(client.receive(within: 10).contains("\"state\":\"none\""))
        }
    }
}

/// A connection to a local socket.
private final class LocalSocket: Sendable {
    private let descriptor: Int32

    init(connectedTo path: String) throws {
        descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard Self.with(path, { connect(descriptor, $0, $1) }) == 0 else {
            throw TestBedError("cannot connect to \(path)")
        }
    }

    init(listeningAt path: String) throws {
        descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard Self.with(path, { bind(descriptor, $0, $1) }) == 0, listen(descriptor, 1) == 0 else {
            throw TestBedError("cannot listen at \(path)")
        }
    }

    /// Takes one connection, whatever comes, and answers `text`.
    func answerOnce(with text: String) {
        let client = accept(descriptor, nil, nil)
        var bytes = [UInt8](repeating: 0, count: 4096)
        _ = recv(client, &bytes, bytes.count, 0)
        _ = Array(text.utf8).withUnsafeBytes { Glibc.send(client, $0.baseAddress, $0.count, 0x4000) }
        close(client)
    }

    private static func with(_ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix($0.count - 1)) }
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }

    deinit {
        close(descriptor)
    }

    func send(_ bytes: [UInt8]) {
        // MSG_NOSIGNAL: the server may close before it has all.
        _ = bytes.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, 0x4000) }
    }

    func endSending() {
        shutdown(descriptor, Int32(SHUT_WR))
    }

    /// All that comes until the server closes.
    func receive(within seconds: Int) -> String {
        var timeout = timeval(tv_sec: seconds, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        var text: [UInt8] = []
        var bytes = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = recv(descriptor, &bytes, bytes.count, 0)
            guard count > 0 else { return String(decoding: text, as: UTF8.self) }
            text += bytes[..<count]
        }
    }
}
