import ArgumentParser

/// What is measured: a workload, for one or several guests at once, alone or beside a neighbour that streams data.
///
/// On the command line and in file names it is WORKLOAD, WORKLOAD@GUESTS, and either with `+neighbour`.
struct Case: Hashable, Codable, ExpressibleByArgument, CustomStringConvertible {
    static let neighbourMark = "+neighbour"
    /// More guests than this do not fit into one guest kernel's memory with their caches.
    static let mostGuests = 8

    let workload: Workload
    /// Guests at once; nil for one with the workload's own disk.
    var guests: Int?
    var hasNeighbour = false

    init(_ workload: Workload, guests: Int? = nil, hasNeighbour: Bool = false) {
        self.workload = workload
        self.guests = guests
        self.hasNeighbour = hasNeighbour
    }

    init?(argument: String) {
        hasNeighbour = argument.hasSuffix(Self.neighbourMark)
        let parts = argument.dropLast(hasNeighbour ? Self.neighbourMark.count : 0)
            .split(separator: "@", maxSplits: 1, omittingEmptySubsequences: false)
        guard let first = parts.first, let workload = Workload(rawValue: String(first)) else { return nil }
        self.workload = workload
        guard parts.count == 2 else { return }
        guard let number = Int(parts[1]), (1...Self.mostGuests).contains(number), workload.copies(number) != nil else {
            return nil
        }
        guests = number
    }

    var description: String {
        workload.rawValue + (guests.map { "@\($0)" } ?? "") + (hasNeighbour ? Self.neighbourMark : "")
    }

    /// The images that it needs.
    var set: ImageSet { guests.flatMap { workload.copies($0) } ?? workload.set }
}

/// A directory of the datastore with the images that a server serves in one measurement.
enum ImageSet: Hashable {
    /// One disk with Filebench's file server tree.
    case fileserver
    /// One disk with many small files, as a web or mail server has.
    case webserver
    /// So many copies of a smaller disk with the file server tree.
    case clones(Int)
    /// So many copies of a disk with a Debian to boot.
    case systems(Int)

    /// The directory's name on the disk model.
    var directory: String {
        switch self {
        case .fileserver: "fileserver"
        case .webserver: "webserver"
        case .clones(let count): "clones-\(count)"
        case .systems(let count): "systems-\(count)"
        }
    }

    /// The number of images.
    var count: Int {
        switch self {
        case .fileserver, .webserver: 1
        case .clones(let count), .systems(let count): count
        }
    }

    /// The file of an image.
    static func file(_ number: Int) -> String { "disk\(number).img" }
}
