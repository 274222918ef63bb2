import TestBed

/// The guest's side of a measurement: three steps, so that the disk takes its time for the middle one only.
struct GuestSteps {
    /// How the guest comes to its disks.
    enum Attachment {
        /// It mounts the server's export itself.
        case nfs(any DatastoreServer)
        /// Each volume is a file in this directory.
        case files(String)
    }

    /// The file that a neighbour streams.
    static let neighbourFile = "neighbour.img"
    static let timeMark = "@time "
    static let answerMark = "@answer "

    let measured: Case
    let attachment: Attachment
    /// A directory of the guest's own.
    let scratch: String
    let disk: GuestDisk
    let parameters: RunParameters
    /// This program, as the guest finds it.
    let program: String

    private var needsLoad: Bool { measured.workload.command?.hasPrefix("load ") ?? false }

    private var images: Range<Int> { 0..<measured.set.count }

    private func root(_ number: Int) -> String { "\(scratch)/guest\(number)" }

    static func volume(_ number: Int) -> String { "volume\(number)" }

    /// Mounts everything from cold caches, and has the guest's programs in memory before the disk is slow.
    var prepare: String {
        """
        \(mountCommands.joined(separator: "\n"))
        for tool in find wc du cut xargs stat cksum rm ls cat sync dd; do $tool --version > \(scratch)/warm; done
        \(needsLoad ? "'\(program)' guest-load --help > \(scratch)/warm" : "")

        """
    }

    private var mountCommands: [String] {
        switch attachment {
        case .nfs(let server):
            [
                "echo 3 > /proc/sys/vm/drop_caches",
                "mount -i -t nfs -o \(server.mountOptions) \(server.mountSource) /mnt/nfs",
            ]
                + images.map { number in
                    """
                    device=$(losetup --find --show --direct-io=on /mnt/nfs/\(ImageSet.file(number)))
                    \(disk.mappingCommand(name: "guest\(number)", device: "$device"))
                    mkdir -p \(root(number))
                    mount -t ext3 -o noatime /dev/mapper/guest\(number) \(root(number))
                    """
                }
        case .files(let directory):
            images.map { number in
                """
                device=$(losetup --find --show --direct-io=on '\(directory)/\(Self.volume(number))')
                echo $device > \(scratch)/device\(number)
                mkdir \(root(number))
                mount -t ext3 -o noatime $device \(root(number))
                """
            }
        }
    }

    /// Does the work, and tells microseconds of it and of the `sync` after it, and what it wrote.
    var work: String {
        let starts = images.map { "work \(root($0)) > \(scratch)/answer\($0) & workers+=\" $!\"" }
        return """
            load() { '\(program)' guest-load "$@" --seed \(parameters.seed); }
            creations=\(parameters.creations)
            requests=\(parameters.requests)
            mails=\(parameters.mails)
            list='\(disk.listPath)'
            work() { root=$1; \(measured.workload.command ?? ":"); }
            \(measured.hasNeighbour ? beginNeighbour : "")
            workers=
            begin=${EPOCHREALTIME/./}
            \(starts.joined(separator: "\n"))
            for worker in $workers; do wait $worker; done
            end=${EPOCHREALTIME/./}
            sync --file-system \(images.map(root).joined(separator: " "))
            synced=${EPOCHREALTIME/./}
            \(measured.hasNeighbour ? "kill $neighbour; wait $neighbour || true" : "")
            echo "\(Self.timeMark)$((end - begin)) $((synced - end))"
            for number in \(images.map(String.init).joined(separator: " ")); do
                echo "\(Self.answerMark)$(cat \(scratch)/answer$number)"
            done

            """
    }

    /// A file on the same server, read past the guest's cache for as long as the work goes on.
    private var beginNeighbour: String {
        let directory =
            switch attachment {
            case .nfs: "/mnt/nfs"
            case .files(let directory): directory
            }
        return """
            stream() {
                trap 'kill $reader; exit 0' TERM
                while :; do
                    dd if='\(directory)/\(Self.neighbourFile)' of=/dev/null bs=1M iflag=direct status=none & reader=$!
                    wait $reader
                done
            }
            stream & neighbour=$!
            sleep 1
            """
    }

    /// Takes everything away; the next measurement finds the guest as this one did.
    var cleanUp: String {
        switch attachment {
        case .nfs:
            let images = images.map { number in
                """
                umount \(root(number))
                dmsetup remove --noudevsync --verifyudev --retry guest\(number)
                """
            }
            return """
                \(images.joined(separator: "\n"))
                losetup --detach-all
                until umount /mnt/nfs 2> \(scratch)/warm; do sleep 0.05; done

                """
        case .files:
            return images.map { number in
                """
                umount \(root(number))
                losetup --detach $(cat \(scratch)/device\(number))

                """
            }.joined()
        }
    }
}
