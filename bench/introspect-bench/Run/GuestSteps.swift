import TestBed

/// The guest's side of a measurement: three steps, so that the disk takes its time for the middle one only.
struct GuestSteps {
    /// The file that a neighbour streams.
    static let neighbourFile = "neighbour.img"
    static let timeMark = "@time "
    static let answerMark = "@answer "

    let measured: Case
    let server: any DatastoreServer
    let disk: GuestDisk
    let parameters: RunParameters
    /// This program, as the guest finds it.
    let program: String

    private var needsLoad: Bool { measured.workload.command?.hasPrefix("load ") ?? false }

    private var images: Range<Int> { 0..<measured.set.count }

    /// Mounts everything from cold caches, and has the guest's programs in memory before the disk is slow.
    var prepare: String {
        let mounts = images.map { number in
            """
            device=$(losetup --find --show --direct-io=on /mnt/nfs/\(ImageSet.file(number)))
            \(disk.mappingCommand(name: "guest\(number)", device: "$device"))
            mkdir -p /mnt/guest\(number)
            mount -t ext3 -o noatime /dev/mapper/guest\(number) /mnt/guest\(number)
            """
        }
        return """
            echo 3 > /proc/sys/vm/drop_caches
            mount -i -t nfs -o \(server.mountOptions) \(server.mountSource) /mnt/nfs
            \(mounts.joined(separator: "\n"))
            for tool in find wc du cut xargs stat cksum rm ls cat sync dd; do $tool --version > /run/warm; done
            \(needsLoad ? "'\(program)' guest-load --help > /run/warm" : "")

            """
    }

    /// Does the work, and tells microseconds of it and of the `sync` after it, and what it wrote.
    var work: String {
        let starts = images.map { "work /mnt/guest\($0) > /run/answer\($0) & workers+=\" $!\"" }
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
            sync
            synced=${EPOCHREALTIME/./}
            \(measured.hasNeighbour ? "kill $neighbour; wait $neighbour || true" : "")
            echo "\(Self.timeMark)$((end - begin)) $((synced - end))"
            for number in \(images.map(String.init).joined(separator: " ")); do
                echo "\(Self.answerMark)$(cat /run/answer$number)"
            done

            """
    }

    /// A file on the same mount, read past the guest's cache for as long as the work goes on.
    private var beginNeighbour: String {
        """
        stream() {
            while dd if=/mnt/nfs/\(Self.neighbourFile) of=/dev/null bs=1M iflag=direct status=none; do :; done
        }
        stream & neighbour=$!
        sleep 1
        """
    }

    /// Checks what was changed, and takes everything away; the next measurement finds the guest as this one did.
    var cleanUp: String {
        let images = images.map { number in
            """
            umount /mnt/guest\(number)
            \(measured.workload.changesFiles ? "check /dev/mapper/guest\(number)" : "")
            dmsetup remove --noudevsync --verifyudev --retry guest\(number)
            """
        }
        return """
            check() { e2fsck -f -n $1 > /run/check 2>&1 || { cat /run/check; exit 1; }; }
            pkill dd || true
            \(images.joined(separator: "\n"))
            losetup --detach-all
            until umount /mnt/nfs 2> /run/warm; do sleep 0.05; done

            """
    }
}
