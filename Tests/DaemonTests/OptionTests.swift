import Glibc
import TestBed
import Testing

/// Options that cannot be meant as they are: each is refused in words that say what to do instead.
struct OptionTests {
    private func refusal(_ arguments: [String], status: Int32) throws -> String {
        let result = try Command([try Executable.path(of: "introspectd"), "serve"] + arguments, timeLimit: 20).result()
        #expect(result.status == status, "\(result.errorOutput)")
        return result.errorOutput
    }

    @Test(arguments: [
        (["--cache", "4"], "--cache 4: expected at least 1M"),
        (["--ssd", "/", "--ssd-mode", "off", "--ssd-size", "8M"], "--ssd-size 8M: expected at least 64M"),
        (["--ssd", "/", "--ssd", "/tmp", "--ssd-mode", "off", "--ssd-size", "100M"], "expected at least 128M"),
        (["--ssd", "/tmp"], "say with --ssd-mode what the log is for"),
        (["--ssd", "/tmp", "--ssd", "/tmp/.", "--ssd-mode", "off"], "the same directory twice"),
        (["--ssd-size", "1G"], "--ssd names no directory"),
        (["--maps", "/none/such"], "--maps /none/such: there is no such directory"),
    ])
    func senselessOptionSaysWhatToDo(options: [String], complaint: String) throws {
        #expect(try refusal(["/"] + options, status: 64).contains(complaint))
    }

    @Test func reportAndControlMustNotLieWhereClientsCanReplaceThem() throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let export = try temporary.makeDirectory("export")
            try run("mkdir", "\(export)/inside")
            try run("ln", "-s", "\(export)/inside", temporary.file("link"))
            try run("ln", "-s", "\(export)/missing", temporary.file("dangling"))
            let rest = [
                export, "--port", "0", "--mount-port", "0", "--no-rpcbind", "--state", temporary.file("state"),
            ]
            for option in ["--report", "--control"] {
                for place in ["\(export)/new/deep", "\(export)/inside/x", temporary.file("link/a/b"), export] {
                    let message = try refusal(rest + [option, place], status: 1)
                    #expect(message.contains("\(option) \(place): lies in \(export)"), "\(message)")
                }
                let message = try refusal(rest + [option, temporary.file("dangling/x")], status: 1)
                #expect(message.contains("leads nowhere"), "\(message)")
            }
        }
    }

    @Test func controlSocketIsNotMadeWhereOthersCanReplaceIt() throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let open = try temporary.makeDirectory("open")
            chmod(open, 0o777)
            let message = try refusal(
                [
                    try temporary.makeDirectory("export"), "--port", "0", "--mount-port", "0", "--no-rpcbind",
                    "--state", temporary.file("state"), "--control", "\(open)/socket",
                ], status: 1)
            #expect(message.contains("other users can replace files in \(open)"), "\(message)")
        }
    }

    @Test func missingLogDirectoryIsNamedInPlainWords() throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let missing = temporary.file("missing")
            let words = [
                try Executable.path(of: "introspectd"), "serve", try temporary.makeDirectory("export"), "--port", "0",
                "--mount-port", "0", "--no-rpcbind", "--state", temporary.file("state"), "--ssd", missing,
                "--ssd-mode", "writeback",
            ]
            // It may serve, or not: either way the line is there.
            let server = try BackgroundProcess(words, logPath: temporary.file("log"), on: bed)
            let deadline = monotonicNanoseconds() + 20_000_000_000
            while !server.log.contains("--ssd \(missing): there is no such directory"),
                monotonicNanoseconds() < deadline
            { usleep(10000) }
            #expect(server.log.contains("--ssd \(missing): there is no such directory"), "\(server.log)")
        }
    }

    @Test func sizeOfALogThatIsThereIsSaidToBeIgnored() throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let export = try temporary.makeDirectory("export")
            let log = ["--ssd", try temporary.makeDirectory("ssd"), "--ssd-mode", "writeback", "--ssd-size"]
            let first = try LocalServer(serving: export, log + ["64M"], in: temporary, on: bed)
            #expect(first.process.stop() == 0)
            #expect(!first.process.log.contains("is ignored"))
            let second = try LocalServer(serving: export, log + ["128M"], in: temporary, on: bed)
            try second.waitForLog("--ssd-size 128M is ignored: the log is there already, of")
            #expect(second.process.stop() == 0)
        }
    }

    @Test func rangesOfIPv6HaveTheServerListenOnBoth() throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let export = try temporary.makeDirectory("export")
            let server = try LocalServer(serving: export, ["--allow", "fd00::/8"], in: temporary, on: bed)
            // By its IPv4 address; that IPv6 is listened on the log says.
            _ = try server.list()
            #expect(server.process.log.contains("on ::, NFS at port"))
            #expect(server.process.stop() == 0)
        }
    }

    @Test func reportIsForTheServersUserAlone() throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let export = try temporary.makeDirectory("export")
            try run("mke2fs", "-q", "-F", "-t", "ext4", "\(export)/disk.img", "16M")
            let report = temporary.file("new/report")
            let server = try LocalServer(
                serving: export, ["--report", report, "--report-files"], in: temporary, on: bed)
            try server.waitForLog("disk.img: scanned in")
            try server.writeReport(in: report)
            // A stop's report reads no images: that could take longer than a stop may.
            rename("\(report)/disk.img.files", "\(report)/kept")
            #expect(server.process.stop() == 0)
            #expect(access("\(report)/disk.img.files", F_OK) != 0)
            // What was known of the images is still.
            #expect(try readText(of: "\(report)/disk.img.runs").split(separator: "\n").count > 3)
            rename("\(report)/kept", "\(report)/disk.img.files")
            for (name, mode) in [
                ("", 0o700), ("/..", 0o700), ("/statistics.json", 0o600), ("/disk.img.runs", 0o600),
                ("/disk.img.files", 0o600),
            ] as [(String, mode_t)] {
                var status = stat()
                #expect(stat(report + name, &status) == 0, "\(name)")
                #expect(status.st_mode & 0o7777 == mode, "\(name)")
            }
        }
    }
}
