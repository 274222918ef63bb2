import Foundation
import TestTools

/// A process that locks a directory in every way that one who may read it can.
final class DirectoryHolder {
    private let process = Process()

    var id: Int32 { process.processIdentifier }

    /// Has user `user` hold `directory`, and `stateLock` as a server holds the file of that name, and waits until he does.
    init(_ directory: String, user: UInt32, stateLock: String? = nil) throws {
        let program = """
            use Fcntl;
            $| = 1;
            sysopen(my $directory, $ARGV[0], O_RDONLY | O_DIRECTORY) or die "open: $!";
            flock($directory, 2 | 4) or die "flock: $!";
            my $marks = pack("s s x4 q q l x4", F_RDLCK, 0, 0, 0, 0);
            fcntl($directory, 37, $marks) or die "F_OFD_SETLK: $!";
            my $lock;
            if ($ARGV[1]) {
                sysopen($lock, $ARGV[1], O_RDWR | O_CREAT, 0600) or die "open: $!";
                flock($lock, 2 | 4) or die "flock: $!";
            }
            print "held\\n";
            sleep(600);
            """
        process.executableURL = URL(fileURLWithPath: "/usr/bin/setpriv")
        process.arguments =
            ["--reuid", "\(user)", "--regid", "\(user)", "--clear-groups", "/usr/bin/perl", "-e", program, directory]
            + (stateLock.map { [$0] } ?? [])
        let output = Pipe()
        process.standardOutput = output
        try process.run()
        guard try output.fileHandleForReading.read(upToCount: 5) == Data("held\n".utf8) else {
            throw ToolFailure(description: "\(directory) could not be held by user \(user)")
        }
    }

    deinit {
        // The test's thread blocks SIGTERM, and so does what it starts.
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
    }
}
