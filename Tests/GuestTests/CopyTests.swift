import Glibc
import TestBed
import Testing

extension GuestTests {
    struct CopyTests {
        /// A tree with what trees have: empty and large files, holes, many entries, links, modes, odd names.
        private func makeTree(at path: String) throws {
            var generator = SeededGenerator(seed: 11)
            try run("mkdir", "-p", "\(path)/deep/er/and/deeper", "\(path)/many", "\(path)/with space and ü")
            for index in 0..<300 {
                try writeText("\(index)\n", to: "\(path)/many/entry-with-a-rather-long-name-\(index)")
            }
            for (index, size) in [0, 1, 4095, 4096, 4097, 1 << 20, (3 << 20) + 17].enumerated() {
                let bytes = (0..<size).map { _ in UInt8.random(in: 32..<127, using: &generator) }
                let text = String(decoding: bytes, as: UTF8.self)
                try writeText(text, to: "\(path)/with space and ü/file \(index)")
            }
            try run("truncate", "--size", "5M", "\(path)/deep/hole")
            try run("ln", "\(path)/deep/hole", "\(path)/deep/er/hard link")
            try run("ln", "-s", "../../no such file", "\(path)/deep/er/symbolic link")
            try run("mkfifo", "\(path)/deep/fifo")
            try run("mknod", "\(path)/deep/device", "c", "1", "3")
            try run("chmod", "1751", "\(path)/many")
            try run("chmod", "4640", "\(path)/many/entry-with-a-rather-long-name-7")
            try run("chown", "-h", "1234:5678", "\(path)/deep/er/symbolic link", "\(path)/many")
            // Whole seconds: the guest sees no more of its host's files.
            try run("find", path, "-depth", "-exec", "touch", "-h", "-d", "2001-02-03 04:05:06", "{}", "+")
        }

        /// One line for each entry: everything but the times of directories' changes and the place of the tree.
        private func listing(of path: String) throws -> Set<String> {
            let format = "%P|%y|%m|%U|%G|%n|%s|%T@|%l\\n"
            let lines = try run("find", path, "-mindepth", "1", "-printf", format).split(separator: "\n")
            // The size of a directory is its file system's affair.
            let described = lines.map { line in
                var fields = line.split(separator: "|", omittingEmptySubsequences: false)
                if fields[1] == "d" { fields[6] = "-" }
                return fields.joined(separator: "|")
            }
            return Set(described)
        }

        @Test func aTreeCopiedInAndOutIsTheSame() throws {
            try GuestBed.with { bed in
                let tree = try bed.temporary.makeDirectory("tree")
                let back = try bed.temporary.makeDirectory("back")
                try makeTree(at: tree)
                var guest = bed.guest
                guest.shares = [bed.temporary.path]
                try guest.run(
                    """
                    \(bed.mountExport)
                    cp -a '\(tree)' /mnt/nfs/in
                    umount /mnt/nfs
                    \(bed.mountExport)
                    diff -r --no-dereference -x fifo -x device '\(tree)' /mnt/nfs/in
                    cp -a /mnt/nfs/in '\(back)/out'
                    touch -d '2001-02-03 04:05:06.789' /mnt/nfs/in
                    test "$(stat -c %y /mnt/nfs/in)" = '2001-02-03 04:05:06.789000000 +0000'
                    umount /mnt/nfs
                    """)
                // FIFOs and devices are not for diff to read; the listing compares them.
                try run("diff", "-r", "--no-dereference", "-x", "fifo", "-x", "device", tree, bed.exported("in"))
                let differences = try listing(of: tree).symmetricDifference(listing(of: bed.exported("in")))
                #expect(differences.sorted().joined(separator: "\n") == "")
                #expect(try listing(of: tree).count > 300)
                try run("diff", "-r", "--no-dereference", "-x", "fifo", "-x", "device", tree, "\(back)/out")
            }
        }

        @Test func whatTheGuestRemovesIsGone() throws {
            try GuestBed.with { bed in
                try bed.guest.run(
                    """
                    \(bed.mountExport)
                    cd /mnt/nfs
                    mkdir -p a/b
                    for i in $(seq 200); do : > a/b/$i; done
                    test "$(ls a/b | wc -l)" = 200
                    mv a/b/1 a/one
                    exec 3<> a/one
                    rm a/one
                    echo still there >&3
                    exec 3>&-
                    rm -r a
                    cd /
                    umount /mnt/nfs
                    """)
                #expect(try run("ls", "-A", bed.server.directory).isEmpty)
            }
        }
    }
}
