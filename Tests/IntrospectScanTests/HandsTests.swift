import Foundation
import TestTools
import Testing

/// What hands and shells do to the command besides giving it good arguments.
@Suite struct HandsTests {
    private func withImage(
        _ options: [String] = [], _ body: (_ directory: String, _ image: String) throws -> Void
    ) throws {
        try withTemporaryDirectory { directory in
            let image = "\(directory)/disk.img"
            try FileManager.default.createDirectory(
                atPath: directory + "/tree", withIntermediateDirectories: true)
            try Data(repeating: 7, count: 1 << 20).write(to: URL(fileURLWithPath: directory + "/tree/big"))
            try runTool("mke2fs", ["-q", "-F", "-t", "ext4", "-d", directory + "/tree"] + options + [image, "32M"])
            try body(directory, image)
        }
    }

    /// Runs `script` with bash, in which `$0` is the command and the arguments follow; returns the status and what all
    /// wrote to standard error.
    private func bash(_ script: String, _ arguments: String...) throws -> (status: Int32, errors: String) {
        try withTemporaryDirectory { scratch in
            let errors = scratch + "/errors"
            try Data().write(to: URL(fileURLWithPath: errors))
            let process = Process()
            process.executableURL = URL(fileURLWithPath: "/bin/bash")
            process.arguments = ["-c", script, introspectScanPath] + arguments
            process.standardOutput = FileHandle.nullDevice
            process.standardError = FileHandle(forWritingAtPath: errors)
            try process.run()
            process.waitUntilExit()
            return (process.terminationStatus, try String(contentsOfFile: errors, encoding: .utf8))
        }
    }

    @Test func aReaderThatHasSeenEnoughIsNoError() throws {
        try withImage { _, image in
            for command in ["cat \"$1\" /big", "cat --json \"$1\" /big", "runs \"$1\"", "ls \"$1\"", "\"$1\""] {
                // 141: ended by SIGPIPE, as any command of a pipeline is, unless whoever runs the tests ignores it.
                let script = "\"$0\" \(command) | head -c 1 > /dev/null; status=${PIPESTATUS[0]}; "
                let outcome = try bash(script + "[ $status = 0 ] || [ $status = 141 ]", image)
                #expect(outcome.status == 0, "\(command)")
                #expect(outcome.errors == "", "\(command)")
            }
        }
    }

    @Test func anImageThatMustNotBeReadIsNamed() throws {
        try withImage { _, image in
            chmod(image, 0)
            // Root without the right to read everything: what anybody else is.
            let outcome = try bash(
                "setpriv --bounding-set=-dac_override,-dac_read_search \"$0\" \"$1\"", image)
            #expect(outcome.status == 2)
            #expect(outcome.errors == "introspect-scan: \(image): Permission denied\n")
        }
    }

    @Test func aPictureIsThereAsAWholeOrNotAtAll() throws {
        try withImage { directory, image in
            let picture = directory + "/map.svg"
            // As on a full disk, after the first KiB.
            let script = "trap '' XFSZ; ulimit -f 1; \"$0\" map \"$1\" -o \"$2\""
            let failed = try bash(script, image, picture)
            #expect(failed.status == 2)
            #expect(failed.errors == "introspect-scan: \(picture): File too large\n")
            #expect(try FileManager.default.contentsOfDirectory(atPath: directory).sorted() == ["disk.img", "tree"])
            try Data("the last one".utf8).write(to: URL(fileURLWithPath: picture))
            #expect(try bash(script, image, picture).status == 2)
            #expect(try String(contentsOfFile: picture, encoding: .utf8) == "the last one")
            let full = directory + "/full.png"
            try FileManager.default.createSymbolicLink(atPath: full, withDestinationPath: "/dev/full")
            let outcome = try bash("\"$0\" map \"$1\" -o \"$2\"", image, full)
            #expect(outcome.status == 2)
            #expect(outcome.errors == "introspect-scan: \(full): No space left on device\n")
        }
    }

    /// A comparison goes on for long after the scans, which watch for Ctrl-C themselves.
    @Test func oneSignalEndsAComparison() throws {
        try withImage { directory, image in
            #expect(truncate(image, 1 << 40) == 0)
            // Of this process's threads some have signals blocked, and what they start would inherit that.
            let unblocked = "perl -MPOSIX -e 'sigprocmask(SIG_SETMASK, POSIX::SigSet->new); exec @ARGV'"
            // Devices do not tell of holes: all of it is read.
            try withLoopDevices(image, parts: [(0, 1 << 40), (0, 1 << 40)]) { devices in
                let outcome = try bash(
                    "timeout --kill-after=10 3 \(unblocked) \"$0\" diff --no-progress \"$1\" \"$2\"", devices[0],
                    devices[1])
                // 124: it ended by the first signal, 137 by the second.
                #expect(outcome.status == 124, "\(outcome.errors)")
            }
        }
    }

    @Test func aGuestsNamesDoNotSteerTheTerminal() throws {
        try withImage(["-L", "red\u{1B}[31m"]) { _, image in
            let outcome = try introspectScan([image])
            #expect(outcome.status == 0)
            #expect(outcome.output.contains(#"label red\x1B[31m"#))
            #expect(!outcome.output.contains("\u{1B}"))
        }
    }

    /// Another image may have the name that is shown of it.
    @Test func anImageWhoseNameIsNoTextIsRefused() throws {
        try withImage { directory, image in
            try FileManager.default.copyItem(atPath: image, toPath: directory + #"/\xFF.img"#)
            let name = "\"$(printf '%s/\\377.img' \"$1\")\""
            #expect(try bash("cp \"$1/disk.img\" \(name)", directory).status == 0)
            for words in [
                name, "runs \(name)", "ls \(name) /", "runs $1/disk.img --with \(name)",
                "runs $1/disk.img --with=\(name)", "diff $1/disk.img \(name)", "map $1/disk.img -o \(name).png",
                "export --maps \(name) $1/disk.img",
            ] {
                let outcome = try bash("\"$0\" \(words)", directory)
                #expect(outcome.status == 2, "\(words): \(outcome)")
                #expect(
                    outcome.errors.contains(#"/\xFF.img"#) && outcome.errors.contains("not UTF-8"),
                    "\(outcome.errors)")
            }
            // One of that name can be.
            #expect(try introspectScan([directory + #"/\xFF.img"#]).status == 0)
        }
    }
}
