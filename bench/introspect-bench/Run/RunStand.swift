import FoundationEssentials
import Glibc
import TestBed

/// What every measurement of a benchmark stands on: one slow disk with all images, one network, one booted guest.
final class RunStand {
    let parameters: RunParameters
    let disk: DiskModel
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

    /// Makes the images for `cases` in `imageDirectory`, or finds them there, and puts them on a new disk.
    init(
        for cases: [Case], parameters: RunParameters, imageDirectory: String, progress: Progress, bed: Bed
    ) throws {
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

    /// Everything as it was, and cold; the disk takes no time.
    func makeCold() throws(TestBedError) {
        try disk.setTiming(false)
        try disk.setTracing(false)
        try disk.restore()
        try dropHostCaches()
    }

    /// The guest, booted unless it is.
    func bootedGuest() throws(TestBedError) -> GuestSession {
        if let guest, guest.isRunning { return guest }
        let guest = try GuestSession(UserModeLinux(on: network, in: temporary), in: temporary, bed: bed)
        self.guest = guest
        return guest
    }

    /// Ends the guest, whose state nobody knows after a failure.
    func discardGuest() {
        guest?.kill()
        guest = nil
    }

    func steps(for measured: Case, server: any DatastoreServer) throws(TestBedError) -> GuestSteps {
        GuestSteps(
            measured: measured, server: server, disk: try image(of: measured.set), parameters: parameters,
            program: program)
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
