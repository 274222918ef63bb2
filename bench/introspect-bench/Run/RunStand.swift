import FoundationEssentials
import Glibc
import TestBed

/// What every measurement of a benchmark stands on: one slow disk with all images, a fast device for servers that use
/// one, one network, one guest.
final class RunStand {
    let parameters: RunParameters
    let disk: DiskModel
    /// The device under the redirect log; nil when no server to be measured has one.
    let ssd: DiskModel?
    let network: NetworkNamespace
    let temporary: TemporaryDirectory
    let progress: Progress
    private let bed: Bed
    private let program: String
    private var images: [ImageSet: GuestDisk] = [:]
    private var paths: [ImageSet: String] = [:]
    private var virtualMachine: QEMUGuest?
    private var classes: [ImageSet: RequestClasses] = [:]
    private var guest: GuestSession?

    /// The bytes that a neighbour streams; more than a run reads, so that no cache has them.
    private static let neighbourSize = 3 << 30
    /// Room on the fast device for the redirect log and a file system around it.
    private static let ssdSize = 2 << 30

    /// Makes the images for `runs` in `imageDirectory`, or finds them there, and puts them on a new disk.
    init(
        for runs: [RunRecord.Identity], parameters: RunParameters, imageDirectory: String, progress: Progress, bed: Bed
    ) throws {
        let cases = runs.map(\.measured)
        self.parameters = parameters
        self.progress = progress
        self.bed = bed
        program = try Executable.path(of: "introspect-bench")
        temporary = try TemporaryDirectory(on: bed)
        progress.say("the slow disk (\(parameters.preset)) with ext4")
        disk = try DiskModel(preset: parameters.preset, fileSystem: .ext4, in: temporary, bed: bed)
        let imageDirectory = try absolutePath(making: imageDirectory)
        var sets: [ImageSet] = []
        for set in cases.map(\.set) where !sets.contains(set) { sets.append(set) }
        network = try NetworkNamespace(on: bed)
        let hasLog = runs.contains(where: \.server.redirects)
        ssd = hasLog ? try Self.makeSSD(parameters.ssdPreset, network: network, bed: bed) : nil
        for set in sets {
            progress.say("image for \(set.directory)")
            if case .systems = set {
                try makeSystem(for: set, in: imageDirectory)
            } else {
                images[set] = try Self.image(for: set, parameters, in: imageDirectory, temporary: temporary)
                paths[set] = images[set]?.path
            }
        }
        progress.say("putting the images on the disk, each in \(parameters.pieces) pieces")
        try place(sets, hasNeighbour: cases.contains(where: \.hasNeighbour))
        try disk.takeSnapshot()
    }

    /// A fast device with an empty redirect log on it: all of it is written when a server first starts.
    private static func makeSSD(_ preset: String, network: NetworkNamespace, bed: Bed) throws -> DiskModel {
        let temporary = try TemporaryDirectory(on: bed)
        let ssd = try DiskModel(preset: preset, size: ssdSize, fileSystem: .ext4, in: temporary, bed: bed)
        try run("mkdir", logDirectory(on: ssd))
        try Bed.with { bed in
            let empty = try TemporaryDirectory(on: bed)
            let server = ServerKind.ours.make(
                serving: try empty.makeDirectory("export"), log: logDirectory(on: ssd), cache: nil,
                registers: false, network: network, in: empty, bed: bed)
            try server.start()
            try server.stop()
        }
        try ssd.takeSnapshot()
        return ssd
    }

    private static func logDirectory(on ssd: DiskModel) -> String { "\(ssd.directory)/log" }

    /// Where the redirect log lies.
    var logDirectory: String? { ssd.map(Self.logDirectory) }

    private static func image(
        for set: ImageSet, _ parameters: RunParameters, in directory: String, temporary: TemporaryDirectory
    ) throws(TestBedError) -> GuestDisk {
        func disk(_ name: String, files: Int, size: Int, sizes: FileSizes) throws(TestBedError) -> GuestDisk {
            try GuestDisk.kept(
                named: name, size: size, files: files, sizes: sizes, seed: parameters.seed, in: directory,
                temporary: temporary)
        }
        let smallest = 400 << 20
        switch set {
        case .fileserver:
            return try disk("fileserver", files: parameters.files, size: parameters.size, sizes: parameters.sizes)
        case .webserver:
            return try disk(
                "webserver", files: parameters.files, size: max(smallest, parameters.size / 4),
                sizes: .gamma(mean: 16 << 10))
        case .clones, .systems:
            return try disk(
                "clone", files: parameters.cloneFiles, size: max(smallest, parameters.size / 4),
                sizes: parameters.sizes)
        }
    }

    /// Without Debian's mirror there may be no system to boot; everything else can be measured all the same.
    private func makeSystem(for set: ImageSet, in directory: String) throws(TestBedError) {
        do throws(TestBedError) {
            paths[set] = try DebianImage(keptIn: directory).path
            let kernel = try GuestKernel(keptIn: directory)
            let start = try kernel.makeInitialFileSystem(DebianImage.initialScript, in: temporary)
            virtualMachine = QEMUGuest(on: network, kernel: kernel, initialFileSystem: start)
        } catch {
            paths[set] = nil
            progress.say("no system to boot: \(error)")
        }
    }

    private func place(_ sets: [ImageSet], hasNeighbour: Bool) throws(TestBedError) {
        var files: [(source: String, target: String)] = []
        for set in sets {
            guard let path = paths[set] else { continue }
            let directory = directory(of: set)
            try run("mkdir", directory)
            files += (0..<set.count).map { (path, "\(directory)/\(ImageSet.file($0))") }
        }
        try disk.place(files, pieces: parameters.pieces)
        guard hasNeighbour else { return }
        let stream = "\(disk.directory)/\(GuestSteps.neighbourFile)"
        try run(
            "dd", "if=/dev/zero", "of=\(stream)", "bs=1M", "count=\(Self.neighbourSize >> 20)", "conv=fsync",
            "status=none", timeLimit: 600)
        for set in sets where paths[set] != nil {
            try run("ln", stream, "\(directory(of: set))/\(GuestSteps.neighbourFile)")
        }
    }

    func directory(of set: ImageSet) -> String { "\(disk.directory)/\(set.directory)" }

    /// The image of a set, as it was before every run.
    func path(of set: ImageSet) throws(TestBedError) -> String {
        guard let path = paths[set] else { throw TestBedError("no image for \(set.directory)") }
        return path
    }

    /// The virtual machine that boots from a copy of the image.
    func machine() throws(TestBedError) -> QEMUGuest {
        guard let virtualMachine else { throw TestBedError("no system to boot") }
        return virtualMachine
    }

    /// The disk in a set that a guest mounts.
    func image(of set: ImageSet) throws(TestBedError) -> GuestDisk {
        guard let image = images[set] else { throw TestBedError("no image for \(set.directory)") }
        return image
    }

    // MARK: - Before and after each measurement

    /// Everything as it was, and cold; the disks take no time.
    func makeCold() throws(TestBedError) {
        try setTiming(false)
        try disk.setTracing(false)
        try disk.restore()
        try ssd?.restore()
        try dropHostCaches()
    }

    /// Has the disks take their time, or none.
    func setTiming(_ isOn: Bool) throws(TestBedError) {
        try disk.setTiming(isOn)
        try ssd?.setTiming(isOn)
    }

    /// A guest for one measurement, and its steps. A user-mode Linux is booted once and stays; what `bed` holds goes
    /// with the measurement.
    func guest(
        for measured: Case, server: any DatastoreServer, bed: Bed
    ) throws(TestBedError) -> (any WorkloadGuest, GuestSteps) {
        let image = try image(of: measured.set)
        func steps(_ attachment: GuestSteps.Attachment, _ scratch: String) -> GuestSteps {
            GuestSteps(
                measured: measured, attachment: attachment, scratch: scratch, disk: image, parameters: parameters,
                program: program)
        }
        switch parameters.guest {
        case .native:
            var volumes = image.volumes(count: measured.set.count) { ImageSet.file($0) }
            if measured.hasNeighbour {
                volumes.append(VolumeArgument(name: GuestSteps.neighbourFile, file: GuestSteps.neighbourFile))
            }
            let guest = try NativeGuest(volumes, of: server, network: network, bed: bed)
            return (guest, steps(.files(guest.volumes), guest.directory))
        case .uml:
            return (try bootedGuest(), steps(.nfs(server), "/run"))
        }
    }

    private func bootedGuest() throws(TestBedError) -> GuestSession {
        if let guest, guest.isRunning { return guest }
        let guest = try GuestSession(UserModeLinux(on: network, in: temporary), in: temporary, bed: bed)
        self.guest = guest
        return guest
    }

    /// The root volumes of a set as files, from the images themselves.
    func volumesOnDisk(of set: ImageSet, bed: Bed) throws(TestBedError) -> NativeGuest {
        let directory = directory(of: set)
        let volumes = try image(of: set).volumes(count: set.count) { "\(directory)/\(ImageSet.file($0))" }
        return try NativeGuest(volumes, of: nil, network: network, bed: bed)
    }

    /// Checks the guests' file systems in the images themselves, after the server has stopped.
    ///
    /// - Returns: the number of free inodes of each, as the groups have it: e2fsck has compared them with the bitmaps,
    ///   while the superblock's own count is a hint that Linux may leave behind.
    func checkFileSystems(of measured: Case) throws -> String {
        try Bed.with { bed in
            let guest = try volumesOnDisk(of: measured.set, bed: bed)
            let counts = try (0..<measured.set.count).map { number in
                let volume = "\(guest.volumes)/\(GuestSteps.volume(number))"
                let check = try Command(["e2fsck", "-f", "-n", volume]).result()
                guard check.status == 0 else {
                    let said = check.output + check.errorOutput
                    throw TestBedError("e2fsck of \(ImageSet.file(number)) after the server's end:\n\(said)")
                }
                // "  1830 free blocks, 1948 free inodes, 2 directories"
                let groups = try run("dumpe2fs", volume).split(separator: "\n").filter { $0.contains(" free inodes") }
                let free = groups.compactMap { $0.split(separator: ",").dropFirst().first?.split(separator: " ").first }
                return "\(free.compactMap { Int($0) }.reduce(0, +))"
            }
            return ", inodes free: " + counts.joined(separator: " ")
        }
    }

    /// Ends the guest, whose state nobody knows after a failure.
    func discardGuest() {
        guest?.kill()
        guest = nil
    }

    /// The requests noted, by class; the server has stopped, and the disk takes no time.
    func countRequests(
        _ requests: [DiskRequest], of measured: Case
    ) throws(TestBedError) -> [String: RunRecord.Requests] {
        let set = measured.set
        let hasFree = requests.contains { (classes[set]?.name(of: $0) ?? RequestClasses.free) == RequestClasses.free }
        var later: RequestClasses?
        if classes[set] == nil {
            classes[set] = try requestClasses(of: set, hasNeighbour: measured.hasNeighbour) { _ throws(TestBedError) in
                try RequestClasses.runs(of: try path(of: set))
            }
        }
        if hasFree, measured.workload.changesFiles {
            later = try requestClasses(of: set, hasNeighbour: false) { file throws(TestBedError) in
                try RequestClasses.runs(of: file)
            }
        }
        return classes[set]?.count(requests, later: later) ?? [:]
    }

    private func requestClasses(
        of set: ImageSet, hasNeighbour: Bool,
        runs: (String) throws(TestBedError) -> [RequestClasses.Stretch<String>]
    ) throws(TestBedError) -> RequestClasses {
        var result = RequestClasses()
        for number in 0..<set.count {
            let file = "\(directory(of: set))/\(ImageSet.file(number))"
            try result.add(file: file, runs: try runs(file))
        }
        if hasNeighbour {
            try result.add(file: "\(directory(of: set))/\(GuestSteps.neighbourFile)", runs: nil)
        }
        return result
    }
}

extension GuestDisk {
    /// The root volume of so many copies of this disk.
    func volumes(count: Int, file: (Int) -> String) -> [VolumeArgument] {
        let pieces = segments.map { Volume.Piece(diskOffset: $0.diskOffset, length: $0.length) }
        return (0..<count).map { VolumeArgument(name: GuestSteps.volume($0), file: file($0), pieces: pieces) }
    }
}
