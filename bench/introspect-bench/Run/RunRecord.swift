import FoundationEssentials
import TestBed

/// One measurement, as it is kept.
struct RunRecord: Codable {
    /// What names the measurement among others; a record is used again only when all of it is the same.
    struct Identity: Codable, Hashable {
        var measured: Case
        var server: ServerKind
        /// From 1.
        var round: Int
        var parameters: RunParameters
        var environment: RunEnvironment
    }

    /// Requests that reached the disk, by what they were for.
    struct Requests: Codable, Hashable {
        var reads = 0
        var writes = 0
        var bytes = 0
    }

    /// The disk and the cache at a moment of the run.
    struct Sample: Codable {
        /// Seconds since the workload began.
        var seconds: Double
        /// Seconds that the disk had been busy.
        var busy: Double
        /// Pages that clients asked for and the cache had.
        var hits: Int
        /// Pages that clients asked for and that had to be read.
        var misses: Int
    }

    /// What the scan at the server's start took.
    struct Scan: Codable {
        var seconds: Double
        var bytesRead: Int
        var reads: Int
        /// What the disk alone takes for the same bytes, read in order; nil when no requests were noted.
        var inOrderSeconds: Double?
    }

    var identity: Identity
    /// When it ended, UTC.
    var date: String
    /// Seconds, in the guest, until the command was done; of a scan, in the server.
    var seconds: Double
    /// Seconds that `sync` took after it.
    var syncSeconds: Double
    /// What the command wrote.
    var answer: String
    /// What the disk did for both.
    var disk: DiskStatistics
    /// What the fast device did; nil for a server that has none.
    var ssd: DiskStatistics?
    /// The requests at the disk by class; `datastore` is the server's own file system, `neighbour` the stream.
    var requests: [String: Requests]
    /// Pages of the server's cache; nil for a server that does not tell.
    var cache: ServerReport.Cache?
    /// Bytes of the class maps and of the images that they are of.
    var mapBytes: Int?
    var imageBytes: Int?
    var scan: Scan?
    /// Moments of a run that was watched; such a run counts for no median.
    var samples: [Sample]?

    /// Seconds that the fast device was busy; nil when there was none.
    var ssdSeconds: Double? { ssd.map { Double($0.busy.total) / 1e9 } }

    /// Seconds as they count in a table.
    var countedSeconds: Double { identity.measured.workload.endsWithSync ? seconds + syncSeconds : seconds }
}

/// What a run was asked for.
struct RunParameters: Codable, Hashable {
    var preset: String
    /// Files on the file server's disk.
    var files: Int
    /// How large they are.
    var sizes: FileSizes
    /// The size of that disk in bytes.
    var size: Int
    /// Names the contents of the disks and the order of the loads.
    var seed: UInt64
    /// The pieces in which each image lies among others.
    var pieces: Int
    /// What does the work.
    var guest = GuestKind.native
    /// The device under the redirect log.
    var ssdPreset = "x25m"
    /// `--cache` of our servers; nil for the default.
    var cache: String?

    /// The cache in words.
    var cacheTitle: String { cache.map { "a RAM cache of \($0)" } ?? "the default RAM cache" }

    /// Files of 16 KiB that `create` makes.
    var creations: Int { max(100, files * 5 / 9) }
    /// Loops of the web server: ten files read and 16 KiB appended to the log in each.
    var requests: Int { max(100, files / 30) }
    /// Loops of the mail server: delete, create, append and read.
    var mails: Int { max(64, files / 30) }
    /// The disk for many guests is smaller.
    var cloneFiles: Int { max(100, files / 4) }
}

/// What a run ran on.
struct RunEnvironment: Codable, Hashable {
    var commit: String
    var kernel: String
    var guestKernel: String
    var ganesha: String
    var e2fsprogs: String
    var processor: String
    var cores: Int
    /// Bytes.
    var memory: Int
    /// Whether the processors are kept from sleeping; nil from before that was done.
    var isWakeful: Bool?

    /// This machine, asked now.
    init(isWakeful: Bool = false) throws(TestBedError) {
        self.isWakeful = isWakeful
        commit = Self.commit
        kernel = Self.line(try run("uname", "-r"))
        guestKernel = Self.line(try run("linux.uml", "--version"))
        ganesha = Self.line(try run("dpkg-query", "-W", "-f", "${Version}", "nfs-ganesha"))
        e2fsprogs = Self.line(try run("dpkg-query", "-W", "-f", "${Version}", "e2fsprogs"))
        let processors = try readText(of: "/proc/cpuinfo").split(separator: "\n")
            .filter { $0.hasPrefix("model name") }.compactMap { $0.split(separator: ":").last }
        processor = processors.first.map { String($0.drop { $0 == " " }) } ?? "unknown"
        cores = processors.count
        let total = try readText(of: "/proc/meminfo").split(separator: "\n").first { $0.hasPrefix("MemTotal:") }
        memory = (total.flatMap { Int($0.filter(\.isNumber)) } ?? 0) << 10
    }

    /// The commit, with `-dirty` when the working tree differs in more than results.
    private static var commit: String {
        guard let head = try? run("git", "rev-parse", "--short=12", "HEAD") else { return "unknown" }
        let difference = ["git", "diff", "--quiet", "HEAD", "--", ":/", ":(top,exclude)bench/*.md"]
        let isClean = (try? Command(difference + [":(top,exclude)bench/results"]).run()) != nil
        return line(head) + (isClean ? "" : "-dirty")
    }

    private static func line(_ text: String) -> String {
        text.split(separator: "\n").first.map(String.init) ?? ""
    }
}
