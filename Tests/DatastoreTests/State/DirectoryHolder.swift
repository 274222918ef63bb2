import Foundation
import TestTools

/// A process that locks a directory in every way that one who may read it can.
final class DirectoryHolder {
    /// Leaves all that was locked to a message on its way from one end of a socket to the other, which nobody reads.
    static let hiding = """
        use Socket;
        socketpair(my $one, my $other, AF_UNIX, SOCK_STREAM, 0) or die "socketpair: $!";
        my $data = "x";
        my $vector = pack("P Q", $data, 1);
        my $control = pack("Q l l l x4", 20, 1, 1, fileno($directory));
        my $message = pack("Q L x4 P Q P Q l x4", 0, 0, $vector, 1, $control, 24, 0);
        my $sendmsg = `uname -m` =~ /x86_64/ ? 46 : 211;
        syscall($sendmsg, fileno($one), $message, 0) == 1 or die "sendmsg: $!";
        close($directory);
        """

    private let process = Process()

    var id: Int32 { process.processIdentifier }

    /// Has user `user` hold `directory`, and `stateLock` as a server holds the file of that name, and waits until he does.
    ///
    /// - Parameters:
    ///   - isLocked: whether the file is locked, too, which some file systems do not offer.
    ///   - rights: what setpriv(1) is to give the user besides.
    ///   - command: starts what it is followed by.
    ///   - end: a Perl program that is run last.
    init(
        _ directory: String, user: UInt32, stateLock: String? = nil, isLocked: Bool = true, rights: [String] = [],
        by command: [String] = [], end: String = ""
    ) throws {
        let program = """
            use Fcntl;
            $| = 1;
            sysopen(my $directory, $ARGV[0], O_RDONLY | O_DIRECTORY) or die "open: $!";
            flock($directory, 2 | 4) or die "flock: $!";
            my $marks = pack("s s x4 q q l x4", F_RDLCK, 0, 0, 0, 0);
            fcntl($directory, 37, $marks) or die "F_OFD_SETLK: $!";
            my $lock;
            if ($ARGV[2]) {
                sysopen($lock, $ARGV[2], O_RDWR | O_CREAT, 0600) or die "open: $!";
                flock($lock, 2 | 4) or die "flock: $!" if $ARGV[1];
            }
            \(end)
            print "held\\n";
            sleep(600);
            """
        process.executableURL = URL(fileURLWithPath: "/usr/bin/setpriv")
        process.arguments =
            ["--reuid", "\(user)", "--regid", "\(user)", "--clear-groups"] + rights + command
            + ["/usr/bin/perl", "-e", program, directory, isLocked ? "1" : "0"] + (stateLock.map { [$0] } ?? [])
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
