import CLinux
import Glibc

/// Changing attributes as a caller.
///
/// The kernel checks and changes everything that one SETATTR says at one stroke, but offers that to nobody outside: a
/// process has a system call for each attribute. Hence all that the calls would refuse is refused before the first of
/// them, and they are made in an order in which what fails can be taken back: owner and group (which a quota may
/// refuse), size, mode, times. A size cannot be taken back. Whoever has made it fail later than that is the disk, or
/// another program that took rights away between the check and the change; the change time tells of all that was tried.
extension Datastore {
    /// Makes `changes` of `file` as `user`, or throws and has changed nothing.
    ///
    /// Who may write a file may set its size and, to the server's clock, its times: that is what truncating is to
    /// clients. All else, and times of the client's choice, is the owner's.
    func change(
        _ file: OwnedDescriptor, _ changes: AttributeChanges, as user: Credentials
    ) throws(DatastoreError) {
        let found = try file.attributes()
        // By its time it is told whether another program has changed an image while its log was away.
        if changes.modificationTime != nil, file.type == .regular { try checkIsWhole(handles.handle(of: file)) }
        try checkValues(changes, of: file)
        try checkOwnership(changes, of: found, as: user)
        let writable = try changes.size.map { (_) throws(DatastoreError) in try openForResizing(file, as: user) }
        if writable == nil { try checkTimes(changes, of: file, found, as: user) }
        do throws(DatastoreError) {
            try changeOwner(of: file, changes, as: user)
            if let writable, let size = changes.size { try changeSize(of: writable, to: size, as: user) }
            try changeMode(of: file, changes.mode, as: user)
            // Whoever may set them to the server's clock may do so one by one; the kernel wants the owner for that.
            let isOwners = changes.times.contains { $0 != .now }
            try changeTimes(of: file, changes, as: isOwners ? user : impersonation.server)
        } catch {
            restoreOwnerAndMode(of: file, to: found)
            throw error
        }
        if found.size == 0 || changes.size == 0 { ExclusiveCreation.forget(in: file) }
    }

    /// Changes the size of `file`, inside ``changingAttributes(of:size:_:)``, which was opened by ``openForResizing(_:as:)``, with what that means for
    /// set-user-id bits, quotas and reserves when it is `user` who does it.
    func changeSize(
        of file: OwnedDescriptor, to size: UInt64, as user: Credentials
    ) throws(DatastoreError) {
        let size = try Self.checkedSize(size, of: file)
        try impersonation.run(as: user, mayTakeSpace: true) { () throws(DatastoreError) in
            guard ftruncate(file.rawValue, size) == 0 else { throw DatastoreError.lastSystemError("truncate") }
        }
    }

    /// Opens `file` for ``changeSize(of:to:as:)``: its owner may, whatever the mode.
    func openForResizing(_ file: OwnedDescriptor, as user: Credentials) throws(DatastoreError) -> OwnedDescriptor {
        guard file.type != .directory else { throw DatastoreError(.isDirectory, "a directory has no size to set") }
        guard file.type == .regular else { throw DatastoreError(.invalidArgument, "only a file has a size to set") }
        try checkIsWhole(handles.handle(of: file))
        do throws(DatastoreError) {
            return try impersonation.run(as: user) { () throws(DatastoreError) in try file.reopened(O_WRONLY) }
        } catch {
            guard error.code == .access, file.openedAttributes.uid == user.uid else { throw error }
            return try file.reopened(O_WRONLY)
        }
    }

    static func checkedSize(_ size: UInt64, of file: OwnedDescriptor) throws(DatastoreError) -> Int {
        guard let size = Int(exactly: size), UInt64(size) <= file.root.limits.maximumFileSize else {
            throw DatastoreError(.fileTooBig, "a size of \(size) bytes")
        }
        return size
    }

    /// Makes those of `changes` that are not of the size of an object that `user` has just made.
    func apply(
        _ changes: AttributeChanges, toNew object: OwnedDescriptor, as user: Credentials
    ) throws(DatastoreError) {
        try checkValues(changes, of: object)
        try changeOwner(of: object, changes, as: user)
        try changeMode(of: object, changes.mode, as: user)
        try changeTimes(of: object, changes, as: user)
    }

    // MARK: Checks

    /// Throws for values that no user can set.
    private func checkValues(_ changes: AttributeChanges, of file: OwnedDescriptor) throws(DatastoreError) {
        for number in [changes.uid, changes.gid] where number == .max {
            throw DatastoreError(.invalidArgument, "user and group \(UInt32.max) are nobody's")
        }
        if let size = changes.size { _ = try Self.checkedSize(size, of: file) }
        if changes.mode != nil, file.type == .symbolicLink {
            throw DatastoreError(.notSupported, "a symbolic link has no mode")
        }
        for case .at(let time) in changes.times where time.nanoseconds >= 1_000_000_000 {
            throw DatastoreError(.invalidArgument, "a time with \(time.nanoseconds) nanoseconds")
        }
    }

    /// Throws `notOwner` when `changes` have what only the owner may change, or root alone, and `user` is not.
    private func checkOwnership(
        _ changes: AttributeChanges, of found: FileAttributes, as user: Credentials
    ) throws(DatastoreError) {
        let isOwner = user.uid == found.uid
        let isLikeOwner = isOwner || impersonation.mayActAsOwner(user)
        let setsTimes = changes.times.contains { $0 != .now }
        guard isLikeOwner || changes.mode == nil && !setsTimes else {
            throw DatastoreError(.notOwner, "change attributes: user \(user.uid) is not the owner")
        }
        guard !impersonation.mayGiveAway(user) else { return }
        if let uid = changes.uid, !isOwner || uid != found.uid {
            throw DatastoreError(.notOwner, "change owner: user \(user.uid) may not")
        }
        if let gid = changes.gid, !isOwner || gid != found.gid && !user.isMember(of: gid) {
            throw DatastoreError(.notOwner, "change group: user \(user.uid) may not")
        }
    }

    /// Throws `access` when `changes` set times to the server's clock and `user` neither owns `file` nor may write it.
    private func checkTimes(
        _ changes: AttributeChanges, of file: OwnedDescriptor, _ found: FileAttributes, as user: Credentials
    ) throws(DatastoreError) {
        guard !changes.times.isEmpty, user.uid != found.uid, !impersonation.mayActAsOwner(user) else { return }
        try impersonation.run(as: user) { () throws(DatastoreError) in
            guard linux_faccessat2(file.rawValue, "", W_OK, linux_at_empty_path | AT_EACCESS) == 0 else {
                throw DatastoreError.lastSystemError("change times")
            }
        }
    }

    // MARK: One attribute after another

    private func changeOwner(
        of file: OwnedDescriptor, _ changes: AttributeChanges, as user: Credentials
    ) throws(DatastoreError) {
        guard changes.uid != nil || changes.gid != nil else { return }
        let none = UInt32.max
        // A group's quota may have no room for the file.
        try impersonation.run(as: user, mayTakeSpace: true) { () throws(DatastoreError) in
            let status = fchownat(file.rawValue, "", changes.uid ?? none, changes.gid ?? none, linux_at_empty_path)
            guard status == 0 else { throw DatastoreError.lastSystemError("change owner") }
        }
    }

    private func changeMode(
        of file: OwnedDescriptor, _ mode: UInt32?, as user: Credentials
    ) throws(DatastoreError) {
        guard let mode else { return }
        try impersonation.run(as: user) { () throws(DatastoreError) in
            guard chmod(file.descriptorPath, mode & 0o7777) == 0 else {
                throw DatastoreError.lastSystemError("change mode")
            }
        }
    }

    private func changeTimes(
        of file: OwnedDescriptor, _ changes: AttributeChanges, as user: Credentials
    ) throws(DatastoreError) {
        guard !changes.times.isEmpty else { return }
        let times = [timespec(changes.accessTime), timespec(changes.modificationTime)]
        try impersonation.run(as: user) { () throws(DatastoreError) in
            guard utimensat(file.rawValue, "", times, linux_at_empty_path) == 0 else {
                throw DatastoreError.lastSystemError("change times")
            }
        }
    }

    /// Takes back what a failed change has done to owner, group and mode.
    private func restoreOwnerAndMode(of file: OwnedDescriptor, to found: FileAttributes) {
        guard let now = try? file.attributes() else { return }
        if now.uid != found.uid || now.gid != found.gid {
            _ = fchownat(file.rawValue, "", found.uid, found.gid, linux_at_empty_path)
        }
        // A change of the owner has cleared bits of the mode.
        guard let now = try? file.attributes(), now.mode != found.mode, file.type != .symbolicLink else { return }
        _ = chmod(file.descriptorPath, found.mode)
    }
}

extension timespec {
    fileprivate init(_ time: AttributeChanges.Time?) {
        switch time {
        case nil: self.init(tv_sec: 0, tv_nsec: linux_utime_omit)
        case .now: self.init(tv_sec: 0, tv_nsec: linux_utime_now)
        case .at(let time): self.init(tv_sec: Int(time.seconds), tv_nsec: Int(time.nanoseconds))
        }
    }
}
