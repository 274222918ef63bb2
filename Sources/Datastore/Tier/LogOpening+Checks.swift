import BlockStorage
import Tiering

/// What is found out before anything of a log is read: whether its devices belong together as the options say, and
/// whether they are what they were.
extension LogOpening {
    /// The layout that the options ask for.
    private var asked: LogLayout {
        guard let configuration, configuration.directories.count > 1 else { return .single }
        return configuration.isMirrored ? .mirror : .stripe
    }

    /// Whether the log that counts is laid out as the options ask; when it is not and images need it, this throws: read in
    /// another way it would be nonsense, and be written over.
    ///
    /// Logs of the first form do not say their layout. It can be told, but for two cases: two sides of a mirror have the
    /// same identity, where of a stripe only the first device has one, and the size of segments says over how much space
    /// the log is spread. One side of a mirror looks like a log on one device, and holds all that one would: it is used
    /// as such, and the other side is refused from then on. The order of three and more stripes is taken as it is given.
    func isLaidOutAsAsked(_ devices: [Device]) throws(DatastoreError) -> Bool {
        let count = configuration?.directories.count ?? 0
        let members = devices.filter { $0.label != nil && $0.label?.identity == register.log }
        for device in members {
            guard let label = device.label, let problem = problem(with: label, of: device, members, devices, count)
            else { continue }
            guard register.mayNeedLog else {
                logger.notice("\(device.path): \(problem); no image needs it, a new log is made")
                return false
            }
            throw DatastoreError(
                .serverFault,
                "\(device.path): \(problem), and images need it: start introspectd with the --ssd options that it had")
        }
        return true
    }

    private func problem(
        with label: LogLabel, of device: Device, _ members: [Device], _ devices: [Device], _ count: Int
    ) -> String? {
        let mirror = configuration?.isMirrored == true ? " and --ssd-mirror" : ""
        let options = "the options say --ssd \(count) times\(mirror)"
        if let place = label.place {
            switch place.mismatch(asked, of: count, at: device.index) {
            case nil: return nil
            case .layout: return "the redirect log was made \(place.layout), \(place.count) in all, and \(options)"
            case .order:
                return "is device \(place.index + 1) of the redirect log, and --ssd names it as \(device.index + 1)"
            }
        }
        if asked != .mirror, members.count > 1 {
            return "the redirect log was made mirrored, and \(options)"
        }
        if asked == .stripe, device.index > 0 {
            return "is the first device of the redirect log, and --ssd names another first"
        }
        let sizes = devices.map(\.device.size)
        let space = asked == .stripe ? StripedDevice(devices.map(\.device), headerSize: 0).size : sizes.min() ?? 0
        guard !label.fits(space) else { return nil }
        // The sides of a mirror may have had other sizes than the ones that are here now.
        if asked == .mirror, devices.count < count || members.count > 1 { return nil }
        return "the redirect log was made over more or less space, and \(options)"
    }

    /// Throws when the log goes on in a file that the options do not name: those that they do name are an older copy.
    func checkNoneIsNewer(_ elsewhere: [LogOpening.File], than files: [LogOpening.File]) throws(DatastoreError) {
        func newest(_ files: [LogOpening.File]) -> (path: String, generation: UInt64)? {
            files.compactMap { file in
                file.label.flatMap { $0.identity == register.log ? (file.path, $0.generation) : nil }
            }.max { $0.1 < $1.1 }
        }
        guard !adopts, register.mayNeedLog, let own = newest(files), let other = newest(elsewhere),
            other.generation > own.generation
        else { return }
        throw DatastoreError(
            .serverFault,
            """
            \(own.path): is an older copy, of generation \(own.generation), than the redirect log in \(other.path), of \
            generation \(other.generation): blocks that were acknowledged may be missing; name that directory with --ssd, or go \
            on with the older copy by introspectctl tier adopt
            """)
    }

    /// The devices that are not what they were, if others of the mirror are; throws when none is, unless an administrator
    /// has said that they count.
    func suspects(_ devices: [Device]) throws(DatastoreError) -> Set<Int> {
        guard !adopts, register.mayNeedLog else { return [] }
        let mismatches = register.mismatches(devices.map(\.file))
        let wrong = devices.indices.filter { mismatches[$0] != nil }
        guard let first = wrong.first, let mismatch = mismatches[first] else { return [] }
        let others = devices.indices.filter { mismatches[$0] == nil && devices[$0].label?.identity == register.log }
        guard asked == .mirror, !others.isEmpty else {
            throw DatastoreError(
                .serverFault,
                """
                \(devices[first].path): \(mismatch): blocks that were acknowledged may be missing; have the right one back \
                and run introspectctl tier attach, or go on with this one by introspectctl tier adopt
                """)
        }
        for index in wrong { logger.warning("\(devices[index].path): \(mismatches[index] ?? "")") }
        return Set(wrong)
    }
}
