#!/usr/bin/perl
# Runs each case of chmod, truncate, open and unlink as an owner, a member of the group, another user and root, and
# prints one line for it: what the system call said, and what it left.
#
#     permission-cases.pl BACKING ACTING [USER=UID...]
#
# BACKING is a directory where the cases are laid out and looked at by root, ACTING the same directory as the users see
# it: itself, or an NFS mount of it. With users given, those are the only ones, and have these numbers.
use strict;
use warnings;
use Errno;
use Fcntl qw(:DEFAULT S_ISUID);
use POSIX ();
use Socket;

my ($backing, $acting, @given) = @ARGV;
umask 0;
$| = 1;

my %ids = (owner => [1001, 1001], group => [1002, 1002, 1001], other => [1003, 1003], root => [0, 0]);
my @users = qw(owner group other root);
if (@given) {
    my %uids = map { split /=/ } @given;
    @users = keys %uids;
    $ids{$_} = [$uids{$_}, $uids{$_}] for @users;
}

my $number = 0;
my $name;    # of the case's directory
my ($real, $seen);

# A new directory for a case; everybody may do everything there.
sub begin {
    $name = sprintf "c%04d", $number++;
    ($real, $seen) = ("$backing/$name", "$acting/$name");
    mkdir $real, 0777 or die "$real: $!";
}

sub file {
    my ($path, $mode, $uid, $gid, $content) = @_;
    sysopen my $file, "$real/$path", O_WRONLY | O_CREAT | O_EXCL, 0600 or die "$path: $!";
    print $file $content // "content";
    close $file;
    chown $uid // 1001, $gid // 1001, "$real/$path" or die "$path: $!";
    chmod $mode, "$real/$path" or die "$path: $!";
}

sub directory {
    my ($path, $mode, $uid, $gid) = @_;
    mkdir "$real/$path", 0700 or die "$path: $!";
    chown $uid // 1001, $gid // 1001, "$real/$path" or die "$path: $!";
    chmod $mode, "$real/$path" or die "$path: $!";
}

# What a call says: ok, or the error's name.
sub outcome {
    my ($done) = @_;
    return "ok" if $done;
    my ($error) = grep { $!{$_} } sort keys %!;
    return $error // "error " . ($! + 0);
}

# Runs a piece of code as a user, in a process of its own, and returns what it says.
sub as {
    my ($user, $code) = @_;
    pipe my $out, my $in or die "pipe: $!";
    my $child = fork // die "fork: $!";
    if (!$child) {
        my ($uid, $gid, @groups) = @{$ids{$user}};
        $) = join " ", $gid, $gid, @groups;
        $( = $gid;
        ($<, $>) = ($uid, $uid);
        die "user $user" unless $> == $uid && $) == $gid;
        syswrite $in, $code->();
        POSIX::_exit(0);
    }
    close $in;
    my $said = do { local $/; <$out> };
    waitpid $child, 0;
    return $said;
}

# What is there now: type and mode, owner, size, links; whether its times moved away from 1970.
sub state_of {
    my ($path) = @_;
    my @s = lstat "$real/$path" or return "gone";
    return sprintf "%o %d:%d size %d links %d%s", $s[2], $s[4], $s[5], -d _ ? 0 : $s[7], $s[3], $s[9] < 1e6 ? " old" : "";
}

sub age { utime 5, 5, "$real/$_[0]" or die "utime $_[0]: $!" }

sub say_case { print join(": ", @_), "\n" }

# One call as each user, on what `make` lays out anew.
sub cases {
    my ($title, $path, $make, $code) = @_;
    for my $user (@users) {
        begin();
        $make->();
        my $said = as($user, $code);
        say_case("$title as $user", $said, state_of($path));
    }
}

my $long = "n" x 256;
my $longest = "n" x 255;

# MARK chmod
for my $mode (0111, 0644, 04711, 02755, 01777, 06777, 02745, 01644) {
    my $text = sprintf "%04o", $mode;
    cases("chmod $text of a file", "f", sub { file("f", 0640); age("f") }, sub { outcome(chmod $mode, "$seen/f") });
    cases("chmod $text of a directory", "d", sub { directory("d", 0750) }, sub { outcome(chmod $mode, "$seen/d") });
}
cases("chmod 2755 of a file of a foreign group", "f", sub { file("f", 0644, 1001, 4000) },
    sub { outcome(chmod 02755, "$seen/f") });
cases("chmod 0600 of a fifo", "p", sub { POSIX::mkfifo("$real/p", 0644); chown 1001, 1001, "$real/p" },
    sub { outcome(chmod 0600, "$seen/p") });
cases("chmod by a link", "f", sub { file("f", 0644); symlink "f", "$real/l" }, sub { outcome(chmod 0600, "$seen/l") });

# MARK truncate
for my $size (0, 3, 7, 12, 123456) {
    cases("truncate to $size of 0644", "f", sub { file("f", 0644); age("f") },
        sub { outcome(truncate "$seen/f", $size) });
}
for my $mode (0400, 0040, 0004, 0200, 0020, 0002, 0666, 0000) {
    my $text = sprintf "%04o", $mode;
    cases("truncate of $text", "f", sub { file("f", $mode); age("f") }, sub { outcome(truncate "$seen/f", 2) });
    cases("O_TRUNC of $text", "f", sub { file("f", $mode); age("f") },
        sub { outcome(sysopen my $f, "$seen/f", O_WRONLY | O_TRUNC) });
    cases("> on $text", "f", sub { file("f", $mode); age("f") },
        sub { outcome(sysopen my $f, "$seen/f", O_WRONLY | O_CREAT | O_TRUNC, 0600) });
    cases("ftruncate of $text", "f", sub { file("f", $mode); age("f") },
        sub { sysopen my $f, "$seen/f", O_RDWR or return "open " . outcome(0); outcome(truncate $f, 2) });
}
cases("ftruncate after chmod 0", "f", sub { file("f", 0666) }, sub {
    sysopen my $f, "$seen/f", O_RDWR or return "open " . outcome(0);
    my $changed = outcome(chmod 0, "$seen/f");
    "chmod $changed, " . outcome(truncate $f, 1)
});
cases("truncate of a directory", "d", sub { directory("d", 0777) }, sub { outcome(truncate "$seen/d", 0) });
cases("truncate to a negative size", "f", sub { file("f", 0666) }, sub { outcome(truncate "$seen/f", -1) });

# MARK special bits and writes
for my $mode (04777, 02777, 06777, 02767, 06767, 06766) {
    my $text = sprintf "%04o", $mode;
    my $make = sub { file("f", $mode) };
    cases("write to $text", "f", $make, sub {
        sysopen my $f, "$seen/f", O_WRONLY or return "open " . outcome(0);
        my $written = outcome(syswrite $f, "x");
        POSIX::close(fileno $f) if $written eq "ok";
        $written
    });
    cases("truncate of $text", "f", $make, sub { outcome(truncate "$seen/f", 1) });
    cases("O_TRUNC of $text", "f", $make, sub { outcome(sysopen my $f, "$seen/f", O_WRONLY | O_TRUNC) });
    cases("read of $text", "f", $make, sub { outcome(sysopen my $f, "$seen/f", O_RDONLY) });
}

# MARK times
my %times = (now => sub { utime undef, undef, $_[0] }, then => sub { utime 77, 77, $_[0] });
for my $when (sort keys %times) {
    for my $mode (0600, 0666, 0444) {
        my $text = sprintf "%04o", $mode;
        cases("times $when of $text", "f", sub { file("f", $mode); age("f") },
            sub { outcome($times{$when}->("$seen/f")) });
    }
}

# MARK open
my %flags = (O_RDONLY => O_RDONLY, O_WRONLY => O_WRONLY, O_RDWR => O_RDWR);
for my $shift (6, 3, 0) {
    for my $bits (0 .. 7) {
        my $mode = $bits << $shift;
        my $text = sprintf "%04o", $mode;
        begin();
        file("f", $mode);
        for my $user (@users) {
            my @said = map { my $flag = $flags{$_}; "$_ " . as($user, sub { outcome(sysopen my $f, "$seen/f", $flag) }) }
                sort keys %flags;
            say_case("open $text as $user", join ", ", @said);
        }
    }
}
for my $mode (0644, 0000, 04755, 02755, 01666) {
    my $text = sprintf "%04o", $mode;
    cases("O_CREAT of $text", "n", sub { chmod 0777, $real },
        sub { sysopen my $f, "$seen/n", O_RDWR | O_CREAT | O_EXCL, $mode or return outcome(0); outcome(syswrite $f, "x") });
}
cases("O_CREAT in a directory of a group with its bit", "d/n", sub { directory("d", 02777, 1001, 4000) },
    sub { outcome(sysopen my $f, "$seen/d/n", O_RDWR | O_CREAT, 0644) });
cases("O_CREAT in 0755", "d/n", sub { directory("d", 0755) },
    sub { outcome(sysopen my $f, "$seen/d/n", O_RDWR | O_CREAT, 0644) });
cases("O_CREAT and O_EXCL of what is there", "f", sub { file("f", 0666) },
    sub { outcome(sysopen my $f, "$seen/f", O_RDWR | O_CREAT | O_EXCL, 0644) });
cases("open of a directory for writing", "d", sub { directory("d", 0777) },
    sub { outcome(sysopen my $f, "$seen/d", O_WRONLY) });
cases("open of a link with O_NOFOLLOW", "l", sub { symlink "f", "$real/l" },
    sub { outcome(sysopen my $f, "$seen/l", O_RDONLY | O_NOFOLLOW) });
cases("open of a fifo that nobody reads", "p", sub { POSIX::mkfifo("$real/p", 0666); chmod 0666, "$real/p" },
    sub { outcome(sysopen my $f, "$seen/p", O_WRONLY | O_NONBLOCK) });

# MARK unlink
for my $mode (0777, 0755, 0775, 01777, 0333, 0666, 0111) {
    my $text = sprintf "%04o", $mode;
    my $make = sub { directory("d", $mode); file("d/f", 0644); age("d") };
    cases("unlink in $text", "d/f", $make, sub { outcome(unlink "$seen/d/f") });
    cases("unlink in $text leaves", "d", $make, sub { outcome(unlink "$seen/d/f") });
}
for my $owner (1001, 1003, 0) {
    cases("unlink of $owner\'s in root's sticky directory", "d/f",
        sub { directory("d", 01777, 0, 0); file("d/f", 0666, $owner) }, sub { outcome(unlink "$seen/d/f") });
}
cases("unlink of a directory", "d", sub { directory("d", 0777) }, sub { outcome(POSIX::unlink("$seen/d")) });
cases("unlink of a link", "f", sub { file("f", 0644); symlink "f", "$real/l" }, sub { outcome(unlink "$seen/l") });
cases("unlink of one of two names", "g", sub { file("f", 0644); link "$real/f", "$real/g" },
    sub { outcome(unlink "$seen/f") });
cases("unlink of what is open", "f", sub { file("f", 0666) }, sub {
    sysopen my $f, "$seen/f", O_RDWR or return "open " . outcome(0);
    my $gone = outcome(unlink "$seen/f");
    sysread $f, my $text, 7;
    "$gone, reads $text, writes " . outcome(syswrite $f, "x")
});

# MARK paths, for all of them
my %calls = (
    chmod => sub { chmod 0600, $_[0] },
    truncate => sub { truncate $_[0], 0 },
    open => sub { sysopen my $f, $_[0], O_RDWR | O_CREAT, 0644 },
    unlink => sub { unlink $_[0] },
);
for my $call (sort keys %calls) {
    my $code = $calls{$call};
    cases("$call in a file", "f", sub { file("f", 0666) }, sub { outcome($code->("$seen/f/x")) });
    cases("$call of nothing", "x", sub { chmod 0755, $real }, sub { outcome($code->("$seen/x")) });
    cases("$call in nothing", "x", sub { }, sub { outcome($code->("$seen/x/y")) });
    cases("$call of a name too long", "x", sub { }, sub { outcome($code->("$seen/$long")) });
    cases("$call of the longest name", $longest, sub { file($longest, 0666) }, sub { outcome($code->("$seen/$longest")) });
    cases("$call by a link to itself", "l", sub { symlink "l", "$real/l" }, sub { outcome($code->("$seen/l/x")) });
    for my $mode (0700, 0070, 0007, 0666) {
        cases(sprintf("%s in %04o", $call, $mode), "d/f", sub { directory("d", $mode); file("d/f", 0666) },
            sub { outcome($code->("$seen/d/f")) });
    }
}
