import Foundation
import Glibc
import TestBed
import Testing

/// What a user gets to see who starts the server in a way that cannot work, and who stops it.
struct StartTests {
    private func failure(_ arguments: [String]) throws -> Command.Result {
        try Command([try Executable.path(of: "introspectd"), "serve"] + arguments, timeLimit: 20).result()
    }

    @Test func missingDirectoryIsNamed() throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let missing = temporary.file("missing")
            let result = try failure([missing, "--state", temporary.file("state"), "--no-rpcbind"])
            #expect(result.status == 1)
            #expect(result.errorOutput.contains("\(missing): No such file or directory"))
        }
    }

    @Test func fileInPlaceOfTheDirectoryIsNamed() throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let file = try temporary.write("text", to: "file")
            let result = try failure([file, "--state", temporary.file("state"), "--no-rpcbind"])
            #expect(result.status == 1)
            #expect(result.errorOutput.contains("\(file): Not a directory"))
        }
    }

    @Test func busyPortIsNamed() throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let export = try temporary.makeDirectory("export")
            let squatter = try Socket()
            let port = try squatter.listenAnywhere()
            let result = try failure([
                export, "--state", temporary.file("state"), "--no-rpcbind", "--port", "\(port)", "--mount-port", "0",
            ])
            #expect(result.status == 1)
            #expect(result.errorOutput.contains("port \(port)"))
            #expect(result.errorOutput.contains("another program, perhaps another NFS server, listens there"))
            #expect(result.errorOutput.contains("--port"))
        }
    }

    @Test(arguments: [
        ["--cache", "many"], ["--port", "70000"], ["--introspect", "maybe"], ["--allow", "10.0.0.0/40"],
    ])
    func senselessOptionIsRefusedWithItsName(option: [String]) throws {
        let result = try failure(["/"] + option)
        #expect(result.status == 64)
        #expect(result.errorOutput.contains(option[0]))
    }

    /// Where clients would all be root, and where root could not be squashed.
    @Test(.enabled(if: geteuid() == 0, "starts as users with other rights"))
    func aServerThatCannotActForOthersIsRefused() throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let export = try temporary.makeDirectory("export")
            let state = try temporary.makeDirectory("state")
            chmod(state, 0o700)
            let program = try Executable.path(of: "introspectd")
            let words = [
                program, "serve", export, "--no-rpcbind", "--state", state, "--port", "0", "--mount-port", "0",
            ]
            for right in ["setuid", "setgid"] {
                let limits = ["setpriv", "--bounding-set", "-\(right)", "--inh-caps", "-\(right)"]
                let result = try Command(limits + words, timeLimit: 20).result()
                #expect(result.status == 1)
                #expect(result.errorOutput.contains("CAP_SETUID and CAP_SETGID"), "\(result)")
            }
            chown(state, 65534, 65534)
            let user = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
            let result = try Command(user + words + ["--root-squash"], timeLimit: 20).result()
            #expect(result.status == 1)
            #expect(result.errorOutput.contains("cannot be squashed"), "\(result)")
        }
    }

    @Test(arguments: [SIGTERM, SIGINT])
    func signalStopsTheServerInOrder(signal: Int32) throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let server = try LocalServer(serving: try temporary.makeDirectory("export"), in: temporary, on: bed)
            server.process.signal(signal)
            #expect(server.process.waitForEnd(upTo: 20) == 0)
        }
    }

    /// A mount that asks for locks hangs later, when nobody thinks of that any more.
    @Test func theLogSaysHowToMountWithoutLocks() throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let export = try temporary.makeDirectory("export")
            let server = try LocalServer(serving: export, in: temporary, on: bed)
            let line = server.process.log.split(separator: "\n").first { $0.contains("serving \(export) on ") } ?? ""
            let options = "-o vers=3,nolock,tcp,port=\(server.port),mountport=\(server.mountPort)"
            #expect(line.contains("clients mount it with \(options) "), "\(line)")
            #expect(line.contains("no file locks") && line.contains("without nolock"), "\(line)")
        }
    }

    @Test func clientsFromElsewhereAreTurnedAway() throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let export = try temporary.makeDirectory("export")
            let options = ["--listen", "127.0.0.1", "--allow", "192.0.2.0/24"]
            let server = try LocalServer(serving: export, options, in: temporary, on: bed)
            // The loopback interface stays allowed: the administrator must not lock himself out.
            _ = try server.list()
        }
    }

    /// The next file that is opened would have the number of standard error, and what is logged would land in it.
    @Test func noFileTakesThePlaceOfAClosedStandardStream() throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let words = [
                "bash", "-c", #"exec "$@" <&- >&- 2>&-"#, "bash", try Executable.path(of: "introspectd"), "serve",
                try temporary.makeDirectory("export"), "--no-rpcbind", "--state", temporary.file("state"),
                "--port", "0", "--mount-port", "0",
            ]
            let server = try BackgroundProcess(words, logPath: temporary.file("log"), on: bed)
            try server.wait(upTo: 30, for: "its socket") { access(temporary.file("state/control"), F_OK) == 0 }
            for stream in 0...2 {
                let place = "/proc/\(server.identifier)/fd/\(stream)"
                #expect(try FileManager.default.destinationOfSymbolicLink(atPath: place) == "/dev/null")
            }
            #expect(server.stop() == 0)
        }
    }

    /// What the server cannot be told as it is must not become another name.
    @Test func aDirectoryWhoseNameIsNoTextIsRefused() throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            // The other is what the name is repaired to.
            let script = """
                directory=$(printf "$0/ex\\377port"); mkdir "$directory" "$0/ex\u{FFFD}port"; exec "$1" serve "$directory" "${@:2}"
                """
            let arguments = [
                "bash", "-c", script, try temporary.makeDirectory("exports"), try Executable.path(of: "introspectd"),
                "--no-rpcbind", "--state", temporary.file("state"), "--port", "0", "--mount-port", "0",
            ]
            let result = try Command(arguments, timeLimit: 20).result()
            #expect(result.status == 64 && result.errorOutput.contains("not UTF-8"), "\(result)")
            #expect(result.errorOutput.contains(#"/ex\xFFport"#), "\(result)")
        }
    }

    /// One in a container sees those of others by their marks alone, even if a program beside it has some, too.
    @Test(.enabled(if: geteuid() == 0, "makes a namespace"))
    func aServerThatCannotBeSeenIsNotPassedOver() throws {
        try Bed.with { bed in
            let temporary = try TemporaryDirectory(on: bed)
            let export = try temporary.makeDirectory("export")
            chmod(temporary.file(""), 0o755)
            let first = try LocalServer(serving: export, in: temporary, on: bed)
            let stranger = """
                use Fcntl;
                pipe(my $reader, my $writer);
                if (!fork) {
                    ($(, $)) = (1000, 1000);
                    ($<, $>) = (1000, 1000);
                    sysopen(my $directory, $ARGV[0], O_RDONLY | O_DIRECTORY) or die "open: $!";
                    my $marks = pack("s s x4 q q l x4", F_RDLCK, 0, 0, 0, 0);
                    fcntl($directory, 37, $marks) or die "F_OFD_SETLK: $!";
                    syswrite($writer, "x");
                    sleep(600);
                }
                close($writer);
                sysread($reader, my $byte, 1) or die "nothing is marked";
                shift;
                exec @ARGV;
                """
            let words = [
                "unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "perl", "-e", stranger, export,
                try Executable.path(of: "introspectd"), "serve", export, "--no-rpcbind", "--state",
                temporary.file("other"), "--port", "0", "--mount-port", "0",
            ]
            let result = try Command(words, timeLimit: 30).result()
            #expect(result.status == 1 && result.errorOutput.contains("export \(export): "), "\(result)")
            #expect(result.errorOutput.contains("--ignore-unseen-marks"), "\(result)")
            let second = try BackgroundProcess(
                words + ["--ignore-unseen-marks"], logPath: temporary.file("log"), on: bed)
            try second.wait(upTo: 30, for: "listening") { second.log.contains("serving ") }
            #expect(second.log.contains("going on"), "\(second.log)")
            second.kill()
            #expect(first.process.stop() == 0)
        }
    }
}
