import BlockStorage
import Glibc
import Logging
import Tiering

/// Finds the log that counts on the fast devices, or makes one.
struct LogOpening {
    private static let mostAttempts = 20
    private static let attemptInterval: useconds_t = 20_000

    private let configuration: DatastoreConfiguration.Tier?
    private let register: RedirectRegister
    private let logger: Logger

    init(_ configuration: DatastoreConfiguration.Tier?, _ register: RedirectRegister, _ logger: Logger) {
        self.configuration = configuration
        self.register = register
        self.logger = logger
    }

    /// The log; nil when none is configured or needed. A mirror that misses a side, or cannot read it, has failed.
    func open() throws(DatastoreError) -> RedirectLog? {
        guard let configuration else {
            guard register.entries.isEmpty else {
                throw DatastoreError(.serverFault, "no directory of a redirect log is named")
            }
            // The images change without the log from now on.
            try register.retire()
            return nil
        }
        if !configuration.directories.contains(where: { access("\($0)/\(LogFile.fileName)", F_OK) == 0 }) {
            let paths = configuration.directories.map { "\($0)/\(LogFile.fileName)" }.joined(separator: " and ")
            guard register.entries.isEmpty else { throw DatastoreError(.serverFault, "\(paths) is missing") }
            try register.retire()
            if configuration.takesNothing { return nil }
        }
        let start = ContinuousClock.now
        let log = try open(configuration)
        try register.use(log.identity)
        let images = log.images.count
        let paths = configuration.directories.joined(separator: " and ")
        logger.info(
            "\(paths): recovered in \(start.duration(to: .now)): \(log.liveByteCount) bytes of \(images) images")
        return log
    }

    private func open(_ configuration: DatastoreConfiguration.Tier) throws(DatastoreError) -> RedirectLog {
        let mayMake = register.entries.isEmpty
        var devices: [any BlockDevice] = []
        var failure: StorageError?
        for directory in configuration.directories {
            do throws(StorageError) {
                devices.append(try openDevice(directory, configuration, mayMake: mayMake))
            } catch {
                failure = error
                logger.error("\(error)")
            }
        }
        if let failure, !configuration.isMirrored || devices.isEmpty {
            throw DatastoreError(.serverFault, "\(failure)")
        }
        let sides = configuration.isMirrored || devices.count == 1 ? devices : [StripedDevice(devices)]
        var known: [any BlockDevice] = []
        for side in sides {
            do throws(StorageError) {
                guard let identity = try RedirectLog.identity(of: side), identity == register.log else { continue }
                known.append(side)
            } catch {
                failure = error
            }
        }
        do throws(StorageError) {
            if !known.isEmpty {
                let log = try recover(known)
                guard let missing = failure ?? missing(sides.count - known.count) else { return log }
                if failure != nil || log.liveByteCount > 0 {
                    log.fail(missing)
                    return log
                }
            } else if !register.entries.isEmpty {
                throw failure ?? missing(sides.count) ?? unknown(sides[0])
            }
            if let failure { throw failure }
            return try begin(on: sides)
        } catch {
            throw DatastoreError(.serverFault, "\(error)")
        }
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

    /// Recovers the log from all sides, or else from any one of them: then it has failed, but loses nothing.
    private func recover(_ sides: [any BlockDevice]) throws(StorageError) -> RedirectLog {
        do throws(StorageError) {
            return try RedirectLog(recovering: sides)
        } catch {
            guard sides.count > 1 else { throw error }
            logger.error("\(error)")
            for side in sides {
                guard let log = try? RedirectLog(recovering: side) else { continue }
                log.fail(error)
                return log
            }
            throw error
        }
    }

    /// Makes a new log, unless that would destroy one that may count elsewhere.
    private func begin(on sides: [any BlockDevice]) throws(StorageError) -> RedirectLog {
        for side in sides {
            guard let identity = try RedirectLog.identity(of: side), !register.isVoid(identity),
                identity != register.log
            else { continue }
            guard try RedirectLog(recovering: side).liveByteCount == 0 else { throw unknown(side) }
        }
        let identity = UInt128.random(in: 1 ... .max)
        do throws(DatastoreError) {
            try register.retire()
        } catch {
            throw StorageError(.system(EIO), operation: "register: \(error.message)", device: register.path)
        }
        try RedirectLog.format(sides, identity: identity)
        return try RedirectLog(recovering: sides)
    }

    private func missing(_ count: Int) -> StorageError? {
        guard count > 0 else { return nil }
        return StorageError(.system(ENODEV), operation: "find the log that was used before", device: "\(count) devices")
    }

    private func unknown(_ side: any BlockDevice) -> StorageError {
        StorageError(
            .damaged,
            operation: """
                use the log, which holds blocks of images that \(register.path) does not know (start with the state \
                directory that was used with it, or remove the log to lose them)
                """, device: side.name)
    }
}
