import BlockStorage
import CLinux
import Glibc
import Synchronization
import Tiering

/// Whether the stable writes and the COMMITs of one file may leave its time of change for later.
///
/// A stable WRITE promises "all file system metadata" (RFC 1813 section 3.3.7). All of it but the time of change is
/// part of what `RWF_DSYNC` makes durable; the time alone costs a commit of the file system's journal for each write,
/// three quarters of a disk's speed. A file that is written often is entered durably in a ``FileRegister`` instead, and
/// the start after a crash gives it the time of that start: later than any that a client has seen, so that none takes
/// what it has cached for current. A clean stop makes the time itself durable, and so does closing the file when nobody uses
/// it: there is no end to the files that are written often and not used for long.
final class LateTimes: Sendable {
    static let registerName = "late-times"
    /// A file that is written less often is not worth an entry.
    private static let fewWrites = 64
    /// Files that the register takes; all others pay for their time.
    private static let mostFiles = 4096

    let register: FileRegister
    let file: ImageIdentity
    private let writes = Atomic(0)

    init(of file: ImageIdentity, in register: FileRegister) {
        self.file = file
        self.register = register
    }

    /// Whether the time of the write that is about to come may be durable later than the write.
    ///
    /// - Parameter atOnce: whether the file is entered with its first write: its time will be late whatever the answer.
    func mayBeLate(path: @autoclosure () -> String, atOnce: Bool = false) -> Bool {
        if register.contains(file) { return true }
        let count = writes.add(1, ordering: .relaxed).newValue
        // A register that cannot be written is asked again after as many writes, and so is one that is being written for
        // another file: writes do not stand in line there.
        guard atOnce || count.isMultiple(of: Self.fewWrites), register.count < Self.mostFiles,
            (try? register.enter(file, path: ByteString(escaped: path()), waits: atOnce)) == true
        else { return false }
        return true
    }

    /// The file is gone for good.
    func forget() throws(DatastoreError) {
        if register.contains(file) { try register.remove([file]) }
    }

    /// Whether the time of a write that has ended may still be durable later: a SETATTR may have taken the file out of the
    /// register meanwhile, whose time a crash must not leave to a file that was written after it.
    func mayStillBeLate(path: @autoclosure () -> String) -> Bool { mayBeLate(path: path(), atOnce: true) }
}

extension Datastore {
    /// A client has set the time of change of `file`, and it is durable: a crash must not replace it by another. Called before
    /// the client is answered.
    ///
    /// A WRITE beside this may have counted on the register for its own time, which is the later one: that is made durable
    /// when no other counts on it any more.
    func keepTimes(of file: OwnedDescriptor) throws(DatastoreError) {
        guard let identity = ImageIdentity(try handles.handle(of: file)) else { return }
        var failure: DatastoreError?
        try lateTimes.remove([identity]) { _ in
            do throws(DatastoreError) {
                try file.syncAttributes()
                return true
            } catch {
                files.noteFailedFlush(of: file)
                failure = error
                return false
            }
        }
        if let failure { throw failure }
    }

    /// Gives the files whose times a crash may have set back the time of now.
    func restoreTimes() {
        settleLateTimes { (handle) throws(DatastoreError) in
            let file = try open(handle, flags: O_RDONLY)
            guard let known = files.file(device: file.device, inode: file.inode) else {
                return try Self.renewTime(of: file)
            }
            var wasAlone = true
            // Not to be taken for another program's doing.
            try files.changeAttributes(of: known, size: nil, wasAlone: &wasAlone) { () throws(DatastoreError) in
                try Self.renewTime(of: file)
            }
        }
    }

    private static func renewTime(of file: OwnedDescriptor) throws(DatastoreError) {
        LockRank.willWait(for: "a flush")
        let times = [
            timespec(tv_sec: 0, tv_nsec: linux_utime_omit), timespec(tv_sec: 0, tv_nsec: linux_utime_now),
        ]
        guard futimens(file.rawValue, times) == 0, fsync(file.rawValue) == 0 else {
            throw DatastoreError.lastSystemError("set the time of change")
        }
    }

    /// Forgets the files whose times `body` has made durable, and those that are gone; the others stay in the register.
    func settleLateTimes(_ body: (FileHandle) throws(DatastoreError) -> Void = { _ in }) {
        var settled: [ImageIdentity] = []
        for (identity, path) in lateTimes.entries {
            guard let handle = FileHandle(identity.bytes), let content = try? handles.open(handle),
                roots[content.exportID] != nil, !isYetToBeCompared(handle)
            else { continue }
            do throws(DatastoreError) {
                try body(handle)
                settled.append(identity)
            } catch {
                guard error.code == .stale else {
                    logger.warning("\(path): \(error.message)")
                    continue
                }
                settled.append(identity)
            }
        }
        do throws(DatastoreError) {
            try lateTimes.remove(settled)
        } catch {
            logger.warning("\(error.message)")
        }
    }

    /// Whether the time of a file is still to be compared with the one that it had when the server stopped.
    private func isYetToBeCompared(_ handle: FileHandle) -> Bool {
        images.identity(of: handle).flatMap(tier.register.entry)?.stopped != nil
    }
}
