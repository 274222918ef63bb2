import CLinux
import Glibc

extension Datastore {
    /// The cookies of `.` and `..`, and the offset from which the kernel's own count on: the kernel's offsets begin
    /// with those of the two as well, so that no other entry has them.
    private enum Cookie {
        static let start: UInt64 = 0
        static let afterSelf: UInt64 = 1
        static let afterParent: UInt64 = 2
    }

    /// READDIR and READDIRPLUS (RFC 1813 sections 3.3.16, 3.3.17): hands the entries after `cookie` to `body`, until
    /// it returns false, for an entry that it has no room for, or there are no more.
    ///
    /// A cookie is the kernel's own offset and stays good while entries come and go: what was there all the time is
    /// handed out once. That holds for every file system that an NFS server may export, and needs no verifier: the
    /// one returned is zero, and `verifier` may be anything. Attributes and handle are missing for an entry that
    /// goes while it is read, that the caller may not look up, or that is a mount point.
    public func readDirectory(
        _ handle: FileHandle, cookie: UInt64, verifier: UInt64, detail: DirectoryDetail, as credentials: Credentials,
        _ body: (DirectoryEntry) -> Bool
    ) throws(DatastoreError) -> DirectoryPage {
        let place = try open(handle, flags: linux_o_path | O_DIRECTORY)
        let user = effective(credentials, on: place.root)
        let directory = try impersonation.run(as: user) { () throws(DatastoreError) in
            try place.reopened(O_RDONLY | O_DIRECTORY)
        }
        guard let offset = Int(exactly: cookie > Cookie.afterParent ? cookie : 0) else {
            throw DatastoreError(.badCookie, "read directory: the cookie \(cookie)")
        }
        var isEnd = false
        if try readDots(of: directory, from: cookie, detail, as: user, body) {
            guard offset == 0 || lseek(directory.rawValue, offset, SEEK_SET) == offset else {
                throw DatastoreError(.badCookie, "read directory: the cookie \(cookie)")
            }
            isEnd = try DirectoryStream(directory.rawValue).forEach { (entry) throws(DatastoreError) in
                guard !entry.isDot else { return true }
                let found =
                    detail == .names
                    ? nil : try? lookup(FileName(bytes: entry.name), in: directory, as: user)
                return body(
                    DirectoryEntry(
                        name: entry.name, fileid: found?.file.inode ?? entry.inode,
                        cookie: UInt64(bitPattern: entry.nextOffset), attributes: found?.file.openedAttributes,
                        handle: found?.handle))
            }
        }
        return DirectoryPage(isEndOfDirectory: isEnd, verifier: 0, attributes: try? directory.attributes())
    }

    /// Hands out `.` and `..` as far as `cookie` is before them; returns whether there is room for more.
    private func readDots(
        of directory: OwnedDescriptor, from cookie: UInt64, _ detail: DirectoryDetail, as user: Credentials,
        _ body: (DirectoryEntry) -> Bool
    ) throws(DatastoreError) -> Bool {
        for (name, next) in [(".", Cookie.afterSelf), ("..", Cookie.afterParent)] where cookie < next {
            let found = try? lookup(FileName(name), in: directory, as: user)
            let wasTaken = name.utf8.withContiguousStorageIfAvailable { bytes in
                body(
                    DirectoryEntry(
                        name: UnsafeRawBufferPointer(bytes), fileid: found?.file.inode ?? directory.inode,
                        cookie: next, attributes: detail == .names ? nil : found?.file.openedAttributes,
                        handle: detail == .names ? nil : found?.handle))
            }
            guard wasTaken ?? false else { return false }
        }
        return true
    }
}
