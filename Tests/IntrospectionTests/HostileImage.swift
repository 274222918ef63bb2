import BlockStorage
import TestTools

/// What a hostile tenant has in its directory: the files of an image, and what its guest writes to the first of them then.
struct HostileImage {
    struct Write {
        var offset: Int
        var bytes: [UInt8]
    }

    struct File {
        var name: String
        var disk: SparseDisk
    }

    let name: String
    var files: [File]
    var writes: [Write] = []

    /// The most that is stored of one, in bytes, and what copies and pages take besides.
    static let largest = 4 << 20

    var storedBytes: Int { files.reduce(0) { $0 + $1.disk.storedBytes } }

    init(_ name: String, _ disk: SparseDisk, writes: [Write] = []) {
        self.name = name
        files = [File(name: "disk.img", disk: disk)]
        self.writes = writes
    }

    init(_ name: String, files: [File]) {
        (self.name, self.files) = (name, files)
    }

    /// What the generator makes of `seed`.
    init(seed: UInt64, _ templates: [HostileDisk.Template]) {
        var hostile = HostileDisk(seed: seed, templates)
        self.init("seed \(seed)", SparseDisk(copying: hostile.disk))
        for _ in 0..<12 {
            guard let write = hostile.nextWrite() else { break }
            writes.append(Write(offset: write.offset, bytes: write.bytes))
        }
    }
}

extension HostileImage {
    /// Images that each stopped a server once, or would have.
    static func all() throws -> [HostileImage] {
        try fileSystems() + volumeGroups() + partitionTables() + descriptors()
    }

    // MARK: Volumes

    private static func volumeGroups() throws -> [HostileImage] {
        [mirrors, segments, missingVolumes] + (try [512, 4096, 65536].map(stripes))
    }

    /// Two mirrors of 30,000 legs each.
    static var mirrors: HostileImage {
        let disk = SparseDisk(size: 128 << 30)
        let mirrors = (0..<2).map { number in
            let legs = (0..<30_000).map { "\"pv0\", \(30_000 * number + $0)" }.joined(separator: ", ")
            return SparseDisk.volume("lv\(number)", extents: 1, "type = \"mirror\" mirrors = [\(legs)]")
        }
        disk.makePhysicalVolume(volumes: mirrors.joined())
        return HostileImage("mirrors of 30,000 legs", disk)
    }

    /// A volume of 8 TiB in two columns of stripes of so many bytes, with a file system in the first of them.
    private static func stripes(of size: Int) throws -> HostileImage {
        let disk = SparseDisk(size: 8 << 40)
        let extents = (8 << 20) - 32
        let columns = [8, extents / 2 + 8]
        disk.makePhysicalVolume(
            volumes: SparseDisk.volume(
                "lv", extents: extents,
                """
                type = "striped" stripe_count = 2 stripe_size = \(size / 512)
                stripes = ["pv0", \(columns[0]), "pv0", \(columns[1])]
                """))
        let made = try HostileFileSystem(
            ["-t", "ext4", "-b", "1024", "-J", "size=1", "-O", "sparse_super2"], size: "4M")
        made.disk.forEachStored { page, bytes in
            for start in stride(from: 0, to: bytes.count, by: min(size, bytes.count)) {
                let (stripe, inStripe) = (page + start).quotientAndRemainder(dividingBy: size)
                let column = (columns[stripe % 2] + 1) << 20
                let part = Array(bytes[start..<start + min(size, bytes.count)])
                disk.write(part, at: column + stripe / 2 * size + inStripe)
            }
        }
        let megabyte = [UInt8](repeating: 0x5A, count: 1 << 20)
        let writes = (0..<8).map { Write(offset: (1 << 40) + ($0 << 20), bytes: megabyte) }
        return HostileImage("stripes of \(size) bytes", disk, writes: writes)
    }

    /// A volume of 20,000 segments, in no order.
    private static var segments: HostileImage {
        let disk = SparseDisk(size: 128 << 30)
        let count = 20_000
        let segments = (0..<count).map { number in
            "s\(number) { start_extent = \(number) extent_count = 1 type = \"striped\" stripe_count = 1"
                + " stripes = [\"pv0\", \(8 + number * 7919 % count * 2)] }"
        }
        let head = "lv { status = [\"READ\", \"VISIBLE\"] segment_count = \(count) "
        disk.makePhysicalVolume(volumes: head + segments.joined(separator: "\n") + " }")
        return HostileImage("20,000 segments", disk)
    }

    private static var missingVolumes: HostileImage {
        let disk = SparseDisk(size: 64 << 20)
        let segment = "type = \"striped\" stripe_count = 1 stripes = [\"pv0\", 8]"
        disk.makePhysicalVolume(volumes: SparseDisk.volume("lv", extents: 1, segment), missing: 60_000)
        return HostileImage("60,000 missing physical volumes", disk)
    }

    // MARK: Descriptors

    private static func descriptors() -> [HostileImage] { [2_000, 256].map(descriptor) }

    /// A VMDK of so many extents, each in a file of its own.
    private static func descriptor(extents: Int) -> HostileImage {
        let lines = (0..<extents).map { "RW 1 FLAT \"\($0)\" 0" }
        let head = "# Disk DescriptorFile\nversion=1\nparentCID=ffffffff\ncreateType=\"vmfs\"\n"
        let text = head + lines.joined(separator: "\n")
        let descriptor = SparseDisk(size: text.utf8.count)
        descriptor.write(Array(text.utf8), at: 0)
        let files = (0..<extents).map { File(name: "\($0)", disk: SparseDisk(size: 512)) }
        return HostileImage(
            "a VMDK of \(extents) extents", files: [File(name: "disk.vmdk", disk: descriptor)] + files)
    }
}
