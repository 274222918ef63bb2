import BlockStorage
import Glibc
import Logging
import Tiering

/// Finds the log that counts on the fast devices, or makes one.
struct LogOpening {
    private static let mostAttempts = 100
    private static let attemptInterval: useconds_t = 20_000

    /// The log's file in one directory, and what it says of the log.
    struct File {
        let path: String
        let label: LogLabel?
    }

    /// The log's file in one directory.
    struct Device {
        let index: Int
        let file: File
        let device: any BlockDevice
        var path: String { file.path }
        var label: LogLabel? { file.label }
    }

    let configuration: DatastoreConfiguration.Tier?
    let register: RedirectRegister
    let logger: Logger
    /// Whether an image is known by a handle of this server.
    let isOurs: @Sendable (ImageIdentity) -> Bool
    /// Whether an administrator has said that the log that is there is the one that counts.
    let adopts: Bool

    init(
        _ configuration: DatastoreConfiguration.Tier?, _ register: RedirectRegister, _ logger: Logger,
        isOurs: @escaping @Sendable (ImageIdentity) -> Bool, adopts: Bool = false
    ) {
        self.isOurs = isOurs
        self.adopts = adopts
        self.configuration = configuration
        self.register = register
        self.logger = logger
    }

    /// The log; nil when none is configured or needed. A mirror that misses a side, or cannot read it, has failed.
    func open() throws(DatastoreError) -> RedirectLog? {
        // Whether images need the log decides over all that follows.
        let elsewhere = filesElsewhere()
        try noteLacking(by: elsewhere.filter { !isOlder(than: $0) || mayHaveBlocks($0, on: nil) })
        if let file = elsewhere.first(where: { isUnknown($0) }) { try noteUnknown(file.path) }
        guard let configuration else {
            guard !register.mayNeedLog else {
                let paths = register.notedPaths.joined(separator: " and ")
                throw DatastoreError(
                    .serverFault,
                    "no directory of a redirect log is named" + (paths.isEmpty ? "" : " (it was in \(paths))"))
            }
            // The images change without the log from now on, and have everything themselves. It is not fenced: were this an
            // older copy of the state directory, nobody would ask whose blocks count when the log is back.
            try register.noteAway()
            return nil
        }
        let paths = configuration.directories.map(LogFile.path)
        if !paths.contains(where: { access($0, F_OK) == 0 }) {
            guard !register.mayNeedLog else {
                throw DatastoreError(.serverFault, "\(paths.joined(separator: " and ")) is missing")
            }
            try register.noteAway()
            if configuration.takesNothing { return nil }
        }
        let start = ContinuousClock.now
        let log = try open(configuration, elsewhere)
        try register.use(log.identity)
        try register.note(log, in: paths)
        let images = log.images.count
        let directories = configuration.directories.joined(separator: " and ")
        logger.info(
            "\(directories): recovered in \(start.duration(to: .now)): \(log.liveByteCount) bytes of \(images) images")
        return log
    }

    private func open(
        _ configuration: DatastoreConfiguration.Tier, _ elsewhere: [File]
    ) throws(DatastoreError) -> RedirectLog {
        var devices: [Device] = []
        var failure: StorageError?
        for (index, directory) in configuration.directories.enumerated() {
            let path = LogFile.path(in: directory)
            do throws(StorageError) {
                let device = try openDevice(directory, configuration, mayMake: !register.mayNeedLog)
                let label = try RedirectLog.label(of: device)
                devices.append(Device(index: index, file: File(path: path, label: label), device: device))
            } catch {
                failure = error
                logger.error("\(error)")
            }
        }
        if let failure, !configuration.isMirrored || devices.isEmpty {
            throw DatastoreError(.serverFault, "\(failure)")
        }
        try checkNoneIsNewer(elsewhere, than: devices.map(\.file))
        try noteLacking(by: devices.map(\.file))
        // Where nothing needs a log the start ends with that.
        if register.mayNeedLog, let device = devices.first(where: { isUnknown($0.file, on: $0.device) }) {
            try noteUnknown(device.path)
            throw DatastoreError(.serverFault, "\(unknown(device.path))")
        }
        let isAsked = try isLaidOutAsAsked(devices)
        let suspects = try isAsked ? suspects(devices) : []
        let sides = sides(of: devices, configuration)
        let known = isAsked ? devices.indices.filter { devices[$0].label?.identity == register.log } : []
        let logger = logger
        do throws(StorageError) {
            if register.log != nil, !known.isEmpty {
                let isSpread = !configuration.isMirrored && devices.count > 1
                let found = isSpread ? sides : known.map { sides[$0] }
                try record { () throws(DatastoreError) in try register.noteStart(of: devices.map(\.file)) }
                let log = try recover(found, suspects: Set(known.indices.filter { suspects.contains(known[$0]) }))
                for note in log.takeNotes() { logger.warning("\(note)") }
                guard let missing = failure ?? missing(isSpread ? 0 : configuration.directories.count - known.count)
                else { return log }
                if failure != nil || log.liveByteCount > 0 {
                    log.fail(missing)
                    return log
                }
            } else if register.mayNeedLog {
                throw failure ?? missing(sides.count) ?? unknown(sides[0].name)
            }
            if let failure { throw failure }
            return try begin(on: devices, configuration)
        } catch {
            throw DatastoreError(.serverFault, "\(error)")
        }
    }

    /// What mirrors one another: a device each, or all of them in stripes.
    private func sides(
        of devices: [Device], _ configuration: DatastoreConfiguration.Tier
    ) -> [any BlockDevice] {
        guard !configuration.isMirrored, devices.count > 1 else { return devices.map(\.device) }
        // In the first form the ring began on the first device and left nothing alone on the others.
        let first = devices[0].label
        let headerSize = first?.identity == register.log && first != nil ? first?.place?.headerSize ?? 0 : nil
        return [StripedDevice(devices.map(\.device), headerSize: headerSize ?? StripedDevice.headerSize)]
    }

    private func isOlder(than file: File) -> Bool { file.label.map(register.isOlder) ?? false }

    /// Whether a file belongs to a log that the state directory knows nothing of and that has blocks of images by handles of
    /// this server: an older copy, from before that log was made, which has the same key.
    private func isUnknown(_ file: File, on device: (any BlockDevice)? = nil) -> Bool {
        guard let label = file.label, label.identity != register.log, !label.isNew,
            !register.isVoid(label.identity, epoch: label.epoch)
        else { return false }
        return mayHaveBlocks(file, on: device)
    }

    /// The logs that the state directory does not know, in the files that the options name, and where it has known others.
    func unknownLogs() -> [LogLabel] {
        let named = (configuration?.directories ?? []).map(LogFile.path)
        let files = named.compactMap { path in (try? LogFile.label(at: path)).map { File(path: path, label: $0) } }
        return (files + filesElsewhere()).filter { isUnknown($0) }.compactMap(\.label)
    }

    /// Notes durably that the log in the file at `path` may have blocks of any image.
    private func noteUnknown(_ path: String) throws(DatastoreError) {
        try register.noteLacking(areDoubtful: true)
        logger.error(
            """
            \(path): the redirect log has blocks of images that \(register.path), an older copy, does not know: put the state \
            directory back that belongs to it
            """)
    }

    /// Whether a log that the state directory does not know as it is now may have blocks.
    ///
    /// - Parameter device: the file, if it is open.
    private func mayHaveBlocks(_ file: File, on device: (any BlockDevice)?) -> Bool {
        guard let label = file.label, label.place?.layout != .stripe,
            let device = device ?? (try? FileDevice(path: file.path, access: .readOnly, mode: .directIfPossible))
        else { return true }
        guard let log = try? RedirectLog(recovering: [UntouchedDevice(device: device)], of: .max) else { return true }
        // Another server may have its log there now.
        return log.liveByteCounts.contains { $0.value > 0 && isOurs($0.key) }
    }

    /// Opens the log's file in a directory; readers that still hold one that was taken out of use end soon.
    private func openDevice(
        _ directory: String, _ configuration: DatastoreConfiguration.Tier, mayMake: Bool
    ) throws(StorageError) -> any BlockDevice {
        let share = configuration.isMirrored ? 1 : configuration.directories.count
        let size = mayMake ? configuration.size / share : nil
        for _ in 0..<Self.mostAttempts {
            do throws(StorageError) {
                return try configuration.openDevice(directory, size)
            } catch  where error.errorNumber == EWOULDBLOCK {
                usleep(Self.attemptInterval)
            }
        }
        return try configuration.openDevice(directory, size)
    }

    private func noteLacking(by files: [File]) throws(DatastoreError) {
        guard try register.noteLacking(by: files) else { return }
        let paths = files.map(\.path).joined(separator: " and ")
        logger.warning(
            """
            \(register.path) is an older copy than the redirect log in \(paths): images that it does not name are entered from \
            the log; put the state directory back that belongs to it, if there is one
            """)
    }

    /// The files that the log was in last, but for those that the options name: though it is left out, what they say tells
    /// whether the state directory is an older copy.
    private func filesElsewhere() -> [File] {
        let named = (configuration?.directories ?? []).map(LogFile.path)
        return register.notedPaths.filter { !named.contains($0) }.compactMap { path in
            do throws(StorageError) {
                return File(path: path, label: try LogFile.label(at: path))
            } catch {
                // Of one that was taken out of use nobody asks.
                if register.log != nil {
                    logger.warning("\(error): whether images need the redirect log that was there cannot be told")
                }
                return nil
            }
        }
    }

    /// Recovers the log from all sides, or else from any one of them when another cannot be read: then it has failed, but
    /// loses nothing. A mirror that proves that records are missing is damaged: a side that proves nothing is no way around
    /// that (invariant 1).
    private func recover(_ sides: [any BlockDevice], suspects: Set<Int>) throws(StorageError) -> RedirectLog {
        let count = configuration?.isMirrored == true ? configuration?.directories.count : 1
        do throws(StorageError) {
            return try RedirectLog(recovering: sides, of: count, suspects: suspects)
        } catch {
            guard sides.count > 1, error.code != .damaged else { throw error }
            logger.error("\(error)")
            for (index, side) in sides.enumerated() where !suspects.contains(index) {
                guard let log = try? RedirectLog(recovering: [side], of: count) else { continue }
                log.fail(error)
                return log
            }
            throw error
        }
    }

    /// Makes a new log, unless that would destroy one that may count elsewhere.
    private func begin(
        on devices: [Device], _ configuration: DatastoreConfiguration.Tier
    ) throws(StorageError) -> RedirectLog {
        for device in devices {
            guard let label = device.label else { throw noLog(device.path) }
            let isVoid = register.isVoid(label.identity, epoch: label.epoch)
            guard !isVoid, label.identity != register.log else { continue }
            // One that was never opened holds nothing. A part of a log cannot be looked into.
            if label.isNew { continue }
            guard label.place?.layout != .stripe,
                try RedirectLog(recovering: [UntouchedDevice(device: device.device)], of: .max).liveByteCount == 0
            else { throw unknown(device.path) }
        }
        try record { () throws(DatastoreError) in try register.retire() }
        let isSpread = !configuration.isMirrored && devices.count > 1
        let sides: [any BlockDevice] = isSpread ? [StripedDevice(devices.map(\.device))] : devices.map(\.device)
        let identity = UInt128.random(in: 1 ... .max)
        try RedirectLog.format(sides, identity: identity)
        // Before it is opened: one that is not known, and is not new, may hold blocks (invariant 11).
        try record { () throws(DatastoreError) in try register.use(identity) }
        return try RedirectLog(recovering: sides)
    }

    private func record(_ body: () throws(DatastoreError) -> Void) throws(StorageError) {
        do throws(DatastoreError) {
            try body()
        } catch {
            throw StorageError(.system(EIO), operation: "register: \(error.message)", device: register.path)
        }
    }

    private func missing(_ count: Int) -> StorageError? {
        guard count > 0 else { return nil }
        return StorageError(.system(ENODEV), operation: "find the log that was used before", device: "\(count) devices")
    }

    private func noLog(_ device: String) -> StorageError {
        StorageError(
            .damaged, operation: "use what is no redirect log (remove it to have one made, or name another directory)",
            device: device)
    }

    private func unknown(_ device: String) -> StorageError {
        StorageError(
            .damaged,
            operation: """
                use the log, which holds blocks of images that \(register.path) does not know (start with the state \
                directory that was used with it, or remove the log to lose them)
                """, device: device)
    }
}

/// A device that is only looked into: the log on it may be another server's, and its epoch tells when that one began.
private struct UntouchedDevice: BlockDevice {
    let device: any BlockDevice
    var name: String { device.name }
    var size: Int { device.size }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(StorageError) {
        try device.read(into: buffer, at: offset)
    }

    func write(_: UnsafeRawBufferPointer, at _: Int) throws(StorageError) {}
    func flush() throws(StorageError) {}
}
