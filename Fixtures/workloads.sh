# What happens in a fixture's file system. Sourced by `make`.
#
# A workload NAME is one or more of the functions
#   prepare_NAME       before mke2fs: fills $tree, which mke2fs -d copies, or adds to mke2fs_arguments
#   age_NAME           with the file system mounted by this machine's kernel at $root
#   finish_NAME        on the unmounted $volume
# and runs in the order of the matrix. Each is the same in every run: its randomness is seeded.

prepare_tree() {
    mkdir -p "$tree"/{boot,dev,empty,etc/init.d,home/user/one/two/three/four,usr/{bin,share/doc},var/log}
    perl -e '
        my ($tree) = @ARGV;
        sub put { open my $f, ">", "$tree/$_[0]" or die "$_[0]: $!"; print $f substr("0123456789abcdef" x ($_[1] / 16 + 1), 0, $_[1]) }
        put("usr/share/doc/page-$_", $_ * 37 % 9000) for 1 .. 300;
        put("usr/bin/tool-$_", $_ * 4001) for 1 .. 20;
        put("home/user/one/two/three/four/note-$_", $_) for 0 .. 200;
        put("boot/vmlinuz", 700_000);
        put("var/log/messages", 150_000);
    ' "$tree"
    ln -s init.d "$tree/etc/fast-link"
    ln -s "/$(printf 'long-target-%03d/' {1..20})" "$tree/etc/slow-link"
    ln -s "$(printf '%060d' 1)" "$tree/etc/link-of-60"
    ln -s "$(printf '%059d' 1)" "$tree/etc/link-of-59"
    ln "$tree/boot/vmlinuz" "$tree/boot/vmlinuz.old"
    ln "$tree/usr/bin/tool-1" "$tree/home/user/hard-link"
    mknod "$tree/dev/null" c 1 3
    mknod "$tree/dev/disk" b 259 70000
    mkfifo "$tree/dev/initctl"
    truncate -s 5M "$tree/home/user/only-a-hole"
}

# Create, append, truncate, rename and delete, so that files and directories grow into what others left.
age_aged() {
    perl -e '
        use Fcntl;
        srand 7;
        my ($root) = @ARGV;
        my (@files, $next);
        mkdir "$root/aged"; mkdir "$root/aged/$_" for 0 .. 7;
        sub fill { my ($path, $bytes) = @_; open my $f, ">>", $path or die "$path: $!"; syswrite $f, "x" x $bytes }
        for my $step (1 .. 3000) {
            my $choice = rand;
            if ($choice < 0.5 || @files < 50) {
                my $path = sprintf "%s/aged/%d/file-%s-%d", $root, rand 8, "n" x rand 40, ++$next;
                fill($path, int(rand() ** 4 * 120_000)); push @files, $path;
            } elsif ($choice < 0.6) {
                fill($files[rand @files], int rand 20_000);
            } elsif ($choice < 0.65) {
                truncate $files[rand @files], int rand 30_000;
            } elsif ($choice < 0.7) {
                my $i = rand @files; my $to = sprintf "%s/aged/%d/moved-%d", $root, rand 8, ++$next;
                rename $files[$i], $to or die; $files[$i] = $to;
            } elsif ($choice < 0.72) {
                symlink "t" x (50 + rand 100), sprintf "%s/aged/link-%d", $root, ++$next;
            } else {
                unlink splice @files, rand @files, 1;
            }
            system "sync", "-f", $root if $step % 1000 == 0;
        }
        unlink glob "$root/aged/3/*"; rmdir "$root/aged/3" or die;
    ' "$root"
}

# Files mapped by single, double and triple indirect blocks (in ext4: by extent trees two levels deep), in pieces.
age_mapped() {
    local block
    block=$(stat -f -c %S "$root")
    perl -e '
        use Fcntl qw(:DEFAULT :seek);
        my ($root, $block) = @ARGV;
        my @files = map { sysopen my $f, "$root/mapped-$_", O_CREAT | O_RDWR or die $!; $f } 0 .. 2;
        sub put { my ($f, $at) = @_; sysseek $f, $at * $block, SEEK_SET; syswrite $f, "m" x $block }
        # Two files grow side by side; the third is nothing but holes and single blocks, over every level of the map.
        for my $n (0 .. 1999) { put($files[0], $n); put($files[1], 2 * $n) if $n % 2 }
        my $fan = $block / 4;
        my @starts = (0, 12, 12 + $fan, 12 + 2 * $fan, 12 + $fan + $fan ** 2, 12 + 2 * $fan + $fan ** 2);
        for my $start (@starts) { put($files[2], $start + 3 * $_) for 0 .. 200 }
        put($files[2], 12 + $fan + $fan ** 2 + 3 * $fan ** 2 + 5);
    ' "$root" "$block"
    truncate -s $((700 * block)) "$root/mapped-1"
    # Frees whole subtrees in the middle.
    fallocate -p -o $((12 * block)) -l $((600 * block)) "$root/mapped-2"
}

# Unwritten extents, within and past the end of the file, and extents split by writes and holes.
age_fallocated() {
    fallocate -l 3M "$root/unwritten"
    : >"$root/past-the-end"
    fallocate -n -l 2M "$root/past-the-end"
    printf 'in the middle' | dd of="$root/unwritten" bs=1 seek=1000000 conv=notrunc status=none
    fallocate -l 2M "$root/punched"
    local at
    for at in {0..60..2}; do
        fallocate -p -o $((at * 32768)) -l 16384 "$root/punched"
    done
}

# A tree of extents three levels deep: with 1 KiB blocks a node holds 84 entries, the inode four.
age_deepextents() {
    perl -e '
        use Fcntl qw(:DEFAULT :seek);
        sysopen my $f, "$ARGV[0]/deep", O_CREAT | O_RDWR or die $!;
        for my $n (0 .. 29_999) { sysseek $f, 2048 * $n, SEEK_SET; syswrite $f, "d" x 1024 }
        sysopen my $g, "$ARGV[0]/less-deep", O_CREAT | O_RDWR or die $!;
        for my $n (0 .. 1999) { sysseek $g, 4096 * $n, SEEK_SET; syswrite $g, "d" x 1024 }
    ' "$root"
}

# A directory of some 8,000 names, a third of them gone again.
age_bigdir() {
    perl -e '
        my ($root) = @ARGV;
        mkdir "$root/big"; open my $f, ">", "$root/big/first" or die;
        for my $n (1 .. 4000) { symlink "x", "$root/big/" . "name-" x ($n % 20) . $n or die $! }
        for my $n (1 .. 4000) { link "$root/big/first", "$root/big/link-$n" or die $! if $n % 2 }
        unlink map { "$root/big/" . "name-" x ($_ % 20) . $_ } grep { $_ % 3 == 0 } 1 .. 4000;
    ' "$root"
}

# A hash tree three levels deep, which takes large_dir: some 50,000 names of nearly 250 bytes, in 1 KiB blocks.
age_hugedir() {
    perl -e '
        my ($root) = @ARGV;
        mkdir "$root/huge"; my $at;
        for my $n (0 .. 51_999) {
            if ($n % 26_000 == 0) { $at = "$root/first-$n"; open my $f, ">", $at or die }
            link $at, "$root/huge/" . "n" x 240 . $n or die "$n: $!";
        }
    ' "$root"
}

# Attributes in a block of their own, in one that several files share, and device files and links that have some.
age_xattr() {
    local block n
    block=$(stat -f -c %S "$root")
    mkdir "$root/attributes"
    for n in {1..30}; do
        : >"$root/attributes/alike-$n"
        echo "$n" >"$root/attributes/own-$n"
        mkdir "$root/attributes/directory-$n"
    done
    setfattr -n user.shared -v "$(printf '%0400d' 0)" "$root"/attributes/alike-*
    for n in {1..30}; do
        setfattr -n user.own -v "$(printf "%0$((block - 300))d" "$n")" \
            "$root/attributes/own-$n" "$root/attributes/directory-$n"
    done
    setfattr -x user.own "$root"/attributes/own-1?
    ln -s gone "$root/attributes/link"
    mknod "$root/attributes/device" c 1 5
    setfattr -h -n trusted.note -v "$(printf '%0400d' 1)" "$root/attributes/link" "$root/attributes/device"
}

# Values that fill inodes of their own.
age_largexattr() {
    local n
    for n in {1..5}; do
        : >"$root/attributes/large-$n"
        setfattr -n user.large -v "$(printf '%020000d' "$n")" "$root/attributes/large-$n"
    done
    : >"$root/attributes/large-again"
    setfattr -n user.large -v "$(printf '%020000d' 5)" "$root/attributes/large-again"
}

# Resized: the descriptors take what was reserved for them, and what is in their way moves.
finish_grown() {
    e2fsck -fy "$volume" >/dev/null 2>&1 || [ $? -eq 1 ]
    resize2fs "$volume" 256M >/dev/null 2>&1
}

finish_shrunk() {
    e2fsck -fy "$volume" >/dev/null 2>&1 || [ $? -eq 1 ]
    resize2fs "$volume" 60M >/dev/null 2>&1
}

# ext2 made ext4 in place: the journal comes late and in pieces, files keep their indirect blocks.
finish_upgraded() {
    tune2fs -j -J size=8 "$volume" >/dev/null
    tune2fs -O extents,uninit_bg,dir_index "$volume" >/dev/null
    e2fsck -fy "$volume" >/dev/null 2>&1 || [ $? -eq 1 ]
}

# A journal that was added to a mounted file system is an ordinary inode, /.journal.
age_journalfile() {
    tune2fs -j -J size=4 "$device" >/dev/null
}

# mke2fs -d does not count what it copies, and e2fsck not the block by which the quota file grows as it counts.
finish_quota() {
    e2fsck -fy "$volume" >/dev/null 2>&1 || [ $? -eq 1 ]
    e2fsck -fy "$volume" >/dev/null 2>&1 || [ $? -eq 1 ]
}

# Bad blocks belong to inode 1.
prepare_badblocks() {
    printf '%s\n' 20000 20001 20002 30000 45000 >"$work/bad-blocks"
    mke2fs_arguments+=(-l "$work/bad-blocks")
}

# A little of everything that hangs from an inode, for disks that fuzzers scribble on: a hash tree, indirect blocks of
# each level or index nodes, unwritten extents, attributes in a block of their own.
age_small() {
    perl -e '
        use Fcntl qw(:DEFAULT :seek);
        my ($root) = @ARGV;
        mkdir "$root/big"; mkdir "$root/a"; mkdir "$root/a/b";
        symlink "t" x 80, "$root/a/slow-link"; symlink "b", "$root/a/fast-link";
        open my $empty, ">", "$root/big/first" or die;
        for my $n (1 .. 16) { link "$root/big/first", "$root/big/" . "n" x 180 . $n or die $! }
        sysopen my $mapped, "$root/mapped", O_CREAT | O_RDWR or die $!;
        for my $n (0, 5, 13, 16, 270, 300, 600, 66_000) { sysseek $mapped, $n * 1024, SEEK_SET; syswrite $mapped, "m" }
        sysopen my $many, "$root/a/many", O_CREAT | O_RDWR or die $!;
        for my $n (0 .. 99) { sysseek $many, 2048 * $n, SEEK_SET; syswrite $many, "d" }
    ' "$root"
    fallocate -l 64K "$root/a/unwritten" 2>/dev/null || true
    setfattr -n user.note -v "$(printf '%0500d' 1)" "$root/a/b"
}
