import BlockStorage
import Glibc
import Synchronization
import Tiering

extension FileRedirects {
    /// How far it is known by what the log must know the file.
    enum Identification: UInt8, AtomicRepresentable {
        /// The file was not written to yet.
        case isOpen
        case isSettled
        /// It is another file for the kernel than the one that was opened: the log takes nothing.
        case isAnother
    }

    /// Whether the log may take a write of the file, which is asked before it takes the first.
    ///
    /// - Parameter writer: the file, open for writing.
    func mayTake(_ writer: () throws(StorageError) -> OwnedDescriptor, path: String) throws(StorageError) -> Bool {
        switch identification.load(ordering: .acquiring) {
        case .isSettled: return true
        case .isAnother: return false
        case .isOpen: return try identify(try writer(), path: path)
        }
    }

    /// Settles by what the log knows the file: by what it is now that it is open for writing.
    ///
    /// overlayfs copies a file of a lower layer when it is first opened for writing, or changed, and the copy has another birth
    /// time, so another handle, and perhaps another inode number. By the handle of before, nobody would find it after the next
    /// start, and it would be served without its blocks (invariant 1). So nothing is registered, and nothing goes to the log,
    /// before this; the log has nothing of the file by then, and who reads it beside this by the identity of before misses
    /// nothing that was acknowledged before he began (invariant 2). From then on the handle stays.
    private func identify(_ writer: OwnedDescriptor, path: String) throws(StorageError) -> Bool {
        let before = image
        let now = images.identity(of: writer)
        let isSame = OpenFile.Identity(device: writer.device, inode: writer.inode) == openedIdentity
        if now == before {
            identification.store(.isSettled, ordering: .releasing)
            return true
        }
        // Somebody has put a lower layer back under what was written: its blocks are not the copy's.
        guard tier.attachment?.log.hasRedirect(RedirectTier.everything, of: before) != true else {
            throw StorageError(
                .system(EIO), operation: "write: has become another file, and the log has blocks of the one before",
                device: path)
        }
        // Another write may come to the same answer meanwhile.
        guard let now, isSame, !tier.isRefused(now), !images.isStranded(now) else {
            if identification.exchange(.isAnother, ordering: .acquiringAndReleasing) != .isAnother {
                tier.logger.notice(
                    """
                    \(path): became another file when it was opened for writing, and goes without the redirect log until the \
                    server is started anew
                    """)
            }
            return false
        }
        use(now)
        identification.store(.isSettled, ordering: .releasing)
        return true
    }
}
