import FoundationEssentials
import Glibc

/// A guest's disk as an administrator would make it: GPT, a boot partition, LVM on the second, and on a logical volume
/// of two pieces an ext3 that has been in use for a while.
public struct GuestDisk: Sendable, Codable {
    /// The volume group and the logical volume with the files.
    public static let volume = "guest/root"

    /// A stretch of the volume on the disk, in bytes.
    public struct Segment: Sendable, Codable {
        /// Where it begins in the volume.
        public let volumeOffset: Int
        /// Where it begins on the disk.
        public let diskOffset: Int
        /// Its length.
        public let length: Int
    }

    /// The image file.
    public private(set) var path: String
    /// Its size in bytes.
    public let size: Int
    /// The files on the ext3, and the directories that hold them.
    public let files: Int
    /// Directories, the root not counted.
    public let directories: Int
    /// Where the volume's pieces lie.
    public let segments: [Segment]

    /// A file with the paths of all files on it, relative to the volume's root, a line each.
    public var listPath: String { path + Self.listSuffix }

    private static let listSuffix = ".files"
    private static let mebibyte = 1 << 20

    /// Makes a disk of `size` bytes at `path` with about `files` files; the same one for each `seed`.
    public init(
        at path: String, size: Int, files: Int, sizes: FileSizes = .desktop, seed: UInt64 = 1,
        in temporary: TemporaryDirectory
    ) throws(TestBedError) {
        self.path = path
        self.size = size
        let volume = temporary.file("root.ext3")
        // What the boot and swap volumes, LVM's metadata and the partition table leave.
        let volumeSize = (size - 150 * Self.mebibyte) / (8 * Self.mebibyte) * (8 * Self.mebibyte)
        let population = try Self.makeFileSystem(
            at: volume, size: volumeSize, files: files, sizes: sizes, seed: seed, in: temporary)
        self.files = population.files
        directories = population.directories
        try writeText(population.paths.map { $0 + "\n" }.joined(), to: path + Self.listSuffix)
        segments = try Self.makeDisk(at: path, size: size, volume: volume, volumeSize: volumeSize, in: temporary)
        unlink(volume)
    }

    /// Bash for guests: makes LVM look at the partitions of loop devices and nothing else.
    public static let guestVolumeSettings = """
        export LVM_SYSTEM_DIR=/run/lvm LVM_SUPPRESS_FD_WARNINGS=1
        mkdir -p /run/lvm
        cat > /run/lvm/lvm.conf <<'END'
        \(lvmConfiguration(lockDirectory: "/run/lock", devices: ["^/dev/loop[0-9]+p[0-9]+$"]))
        END

        """

    /// A bash function `activate IMAGE` for guests: sets `root` to the device of the volume, `deactivate` undoes it.
    public static let guestFunctions = """
        \(guestVolumeSettings)
        activate() {
            loop=$(losetup --find --show --partscan --direct-io=on "$1")
            vgchange --quiet --activate y \(volume.split(separator: "/")[0]) > /run/lvm/said 2>&1 || cat /run/lvm/said
            root=/dev/mapper/\(volume.split(separator: "/").joined(separator: "-"))
        }
        deactivate() {
            vgchange --quiet --activate n \(volume.split(separator: "/")[0]) > /run/lvm/said 2>&1 || cat /run/lvm/said
            losetup --detach $loop
        }

        """

    /// A bash command for guests that maps the volume of the disk on `device` to `/dev/mapper/NAME` as LVM would: for
    /// clones, whose volume groups have all one name, and without reading LVM's metadata from the disk.
    public func mappingCommand(name: String, device: String) -> String {
        let table = segments.map { segment in
            "\(segment.volumeOffset / 512) \(segment.length / 512) linear \(device) \(segment.diskOffset / 512)"
        }
        return "dmsetup create --noudevsync --verifyudev \(name) <<< \"\(table.joined(separator: "\n"))\""
    }

    /// The disk of these parameters in `directory`, made there unless a run before has left it; `name` is its file's.
    public static func kept(
        named name: String, size: Int, files: Int, sizes: FileSizes, seed: UInt64, in directory: String,
        temporary: TemporaryDirectory
    ) throws(TestBedError) -> GuestDisk {
        try TestBed.run("mkdir", "-p", directory)
        let base = "\(directory)/\(name)-\(files)-\(size >> 20)M-\(seed)"
        let image = "\(base).img"
        if access(image, R_OK) == 0, let text = try? readText(of: "\(base).json"),
            var disk = try? JSONDecoder().decode(GuestDisk.self, from: Data(text.utf8)), disk.size == size
        {
            disk.path = image
            return disk
        }
        let disk = try GuestDisk(
            at: image, size: size, files: files, sizes: sizes, seed: seed, in: temporary)
        guard let description = try? JSONEncoder().encode(disk) else {
            throw TestBedError("cannot describe \(image)")
        }
        // Last: an interrupted making leaves no description, and is made again.
        try writeText(String(decoding: description, as: UTF8.self), to: "\(base).json")
        return disk
    }

    private static func lvmConfiguration(lockDirectory: String, devices: [String]) -> String {
        let accepted = devices.map { "\"a|\($0)|\", " }.joined()
        return """
            devices { use_devicesfile = 0  global_filter = [ \(accepted)"r|.*|" ] }
            global { locking_dir = "\(lockDirectory)"  use_lvmpolld = 0  event_activation = 0 }
            backup { backup = 0  archive = 0 }
            activation { udev_sync = 0  udev_rules = 0  verify_udev_operations = 1  monitoring = 0 }
            """
    }

    // MARK: - The file system

    private static func makeFileSystem(
        at path: String, size: Int, files: Int, sizes: FileSizes, seed: UInt64, in temporary: TemporaryDirectory
    ) throws(TestBedError) -> Population {
        try makeSparseFile(at: path, size: size)
        try run("mke2fs", "-q", "-F", "-t", "ext3", "-b", "4096", path)
        let bed = Bed()
        defer { bed.tearDown() }
        let loop = try LoopDevice(on: path, isDirect: false, bed: bed)
        let mount = try Mount(
            loop.path, on: try temporary.makeDirectory("root"), type: "ext3", options: "noatime", bed: bed)
        var population = Population(in: mount.directory, sizes: sizes, seed: seed)
        try population.age(files: files)
        try mount.unmount()
        try loop.detach()
        rmdir(mount.directory)
        return population
    }

    // MARK: - The disk around it

    private static func makeDisk(
        at path: String, size: Int, volume: String, volumeSize: Int, in temporary: TemporaryDirectory
    ) throws(TestBedError) -> [Segment] {
        try makeSparseFile(at: path, size: size)
        let script = try temporary.write(
            """
            label: gpt
            size=\(64 * 2048), name="boot"
            name="system", type=E6D6D379-F507-44C2-A23C-238F2A3DF928

            """, to: "partitions")
        try run("sh", "-c", "sfdisk --quiet '\(path)' < '\(script)'")
        let (start, length) = try partition(2, of: path)
        let bed = Bed()
        defer { bed.tearDown() }
        let loop = try LoopDevice(on: path, offset: start, size: length, isDirect: false, bed: bed)
        let lvm = try VolumeManager(device: loop.path, in: temporary)
        try lvm.run("pvcreate", loop.path)
        try lvm.run("vgcreate", "guest", loop.path)
        // The swap volume lies between the two pieces of the root volume, as it does where a disk was enlarged.
        let first = volumeSize * 2 / 3 / (4 * mebibyte) * (4 * mebibyte)
        try lvm.create(name: "root", size: first)
        try lvm.create(name: "swap", size: 32 * mebibyte)
        try lvm.run("lvextend", "--size", "\(volumeSize)b", Self.volume)
        let segments = try lvm.segments(of: Self.volume, at: start)
        for segment in segments {
            try run(
                "dd", "if=\(volume)", "of=\(path)", "bs=1M", "iflag=skip_bytes,count_bytes", "oflag=seek_bytes",
                "skip=\(segment.volumeOffset)", "count=\(segment.length)", "seek=\(segment.diskOffset)",
                "conv=notrunc,sparse", "status=none", timeLimit: 1200)
        }
        return segments
    }

    /// Start and length in bytes of a partition, by what sfdisk says.
    private static func partition(_ number: Int, of path: String) throws(TestBedError) -> (Int, Int) {
        let dump = try run("sfdisk", "--dump", path)
        let lines = dump.split(separator: "\n").filter { $0.contains(" start=") }
        guard lines.count >= number else { throw TestBedError("no partition \(number) in\n\(dump)") }
        let numbers = lines[number - 1].split(separator: ",").prefix(2).compactMap { field in
            field.split(separator: "=").last.flatMap { Int($0.filter { $0 != " " }) }
        }
        guard numbers.count == 2 else { throw TestBedError("sfdisk says \(lines[number - 1])") }
        return (numbers[0] * 512, numbers[1] * 512)
    }

    private static func makeSparseFile(at path: String, size: Int) throws(TestBedError) {
        unlink(path)
        try run("truncate", "--size", "\(size)", path)
    }

    /// lvm2 without device-mapper: it writes the metadata, and nothing is activated.
    private struct VolumeManager {
        private let directory: String

        init(device: String, in temporary: TemporaryDirectory) throws(TestBedError) {
            directory = temporary.file("lvm")
            try TestBed.run("mkdir", "-p", directory)
            try writeText(
                GuestDisk.lvmConfiguration(lockDirectory: directory, devices: ["^\(device)$"]),
                to: "\(directory)/lvm.conf")
        }

        @discardableResult
        func run(_ words: String...) throws(TestBedError) -> String {
            try run(words)
        }

        func create(name: String, size: Int) throws(TestBedError) {
            try run(
                "lvcreate", "--activate", "n", "--zero", "n", "--wipesignatures", "n", "--yes", "--size", "\(size)b",
                "--name", name, "guest")
        }

        /// Where the pieces of a linear volume lie, on the one physical volume that begins at `start` of the disk.
        func segments(of volume: String, at start: Int) throws(TestBedError) -> [Segment] {
            let format = ["--noheadings", "--units", "b", "--nosuffix", "--separator", " "]
            let report = try run(
                ["lvs", "--segments", "-o", "seg_start,seg_size,seg_start_pe,devices,vg_extent_size", volume] + format)
            let areaStart = try run(["pvs", "-o", "pe_start"] + format)
            guard let areaStart = Int(areaStart.filter(\.isNumber)) else {
                throw TestBedError("no start of the data area: \(areaStart)")
            }
            var segments: [Segment] = []
            for line in report.split(separator: "\n") {
                let fields = line.split(separator: " ")
                guard fields.count == 5, let offset = Int(fields[0]), let length = Int(fields[1]),
                    let extent = fields[3].split(separator: "(").last.flatMap({ Int($0.dropLast()) }),
                    let extentSize = Int(fields[4])
                else { throw TestBedError("lvs says \(line)") }
                segments.append(
                    Segment(
                        volumeOffset: offset, diskOffset: start + areaStart + extent * extentSize, length: length))
            }
            return segments
        }

        private func run(_ words: [String]) throws(TestBedError) -> String {
            try Command(
                ["env", "LVM_SYSTEM_DIR=\(directory)", "LVM_SUPPRESS_FD_WARNINGS=1", "lvm"] + words
                    + ["--driverloaded", "n"]
            ).run()
        }
    }
}
