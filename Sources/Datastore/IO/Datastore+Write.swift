import BlockStorage
import CLinux
import Glibc
public import NIOCore
import Tiering

extension Datastore {
    /// The verifier of unstable writes, now.
    public var writeVerifier: UInt64 { verifier.current }

    /// Writes `bytes` at `offset`; blocks.
    ///
    /// The steps, and what protects each:
    /// 1. The range is noted in the file's ``RangeTable``: overlapping writes follow one another, and no read that
    ///    began earlier may put what it read into the cache (invariant 2). The first of writes that overlap in time finds
    ///    out whether another program has written to the file: what the log has is never laid over that.
    /// 2. The cache takes the bytes, then the file does. A failure takes the pages out of the cache again. Where there is
    ///    room for a part of the bytes that part is written, and the answer says how much.
    /// 3. A stable write asks the kernel for `RWF_DSYNC`, or for `RWF_SYNC` where the time of change must not be late
    ///    (``LateTimes``), so that it is durable before it is answered (invariant 1). The verifier is read before the write, and
    ///    renewed if the storage fails (invariant 5). If it was renewed meanwhile the file is synced once more: ext4 answers
    ///    a sync that overlaps the abort of its journal with success.
    /// 4. A write that the redirect log takes is durable in a group commit there, whatever it asked for; one that
    ///    touches a live redirect is always taken (invariant 3), unless the redirect is moved to the file first. The log
    ///    knows the file by what it is once it is open for writing (invariant 1): ``FileRedirects/mayTake(_:path:)``.
    /// 5. The kernel sees the caller write where that matters to it: ``DataWriter``.
    /// 6. Introspection takes note; whatever it concludes changes no byte (invariant 6).
    public func write(
        _ handle: FileHandle, offset: UInt64, bytes: ByteBuffer, stability: WriteStability, as credentials: Credentials
    ) throws(MutationFailure) -> WriteResult {
        let verifier = writeVerifier
        let (file, attributes) = try openFileForChange(handle, as: credentials)
        // Before the cache or the log hear of it: what the file system would refuse must not get there first.
        guard let range = file.limits.range(offset: offset, length: UInt64(bytes.readableBytes)) else {
            throw MutationFailure(
                DatastoreError(.fileTooBig, "\(file.path): write at \(offset)"),
                wcc: WeakCacheConsistency(after: try? currentAttributes(of: file)))
        }
        let change: OpenFile.OwnChange
        do throws(StorageError) {
            _ = try file.writer()
            change = try files.beginChange(of: file, range)
        } catch {
            throw MutationFailure(
                DatastoreError(error), wcc: WeakCacheConsistency(after: try? currentAttributes(of: file)))
        }
        let ticket = change.ticket
        let writer = writer(for: credentials, change.before ?? attributes, in: root(of: file, by: handle))
        var failure: StorageError?
        var count = 0
        do throws(StorageError) {
            count = try bytes.withUnsafeReadableBytes { (source) throws(StorageError) in
                let write = { () throws(StorageError) in
                    try file.write(
                        source, at: range.offset, stability: stability, under: ticket, for: writer)
                }
                return stability == .unstable ? try write() : try files.background.whileWriteWaits(for: file, write)
            }
        } catch {
            failure = error
        }
        let wcc = files.endChange(change, of: file, isDurable: false)
        if failure == nil, stability != .unstable, verifier != writeVerifier {
            do throws(StorageError) { try file.flush() } catch { failure = error }
        }
        if let failure {
            logger.error("\(failure)")
            throw MutationFailure(DatastoreError(failure), wcc: wcc)
        }
        return WriteResult(count: count, committed: stability, verifier: verifier, wcc: wcc)
    }

    /// Makes the unstable writes of a range durable; `count` 0 means to the end of the file. Blocks, but not for
    /// writes of other ranges.
    public func commit(
        _ handle: FileHandle, offset: UInt64, count: UInt32, as credentials: Credentials
    ) throws(MutationFailure) -> CommitResult {
        let (file, before) = try openFileForChange(handle, as: credentials)
        do throws(StorageError) {
            // What no file can have was never written: then, too, all is flushed.
            let range = count > 0 ? file.limits.range(offset: offset, length: UInt64(count)) : nil
            try files.background.whileWriteWaits(for: file) { () throws(StorageError) in try file.commit(range) }
        } catch {
            logger.error("\(error): clients are told to send their unstable writes again")
            throw MutationFailure(DatastoreError(error), wcc: WeakCacheConsistency(before: before.consistency))
        }
        let after = try? currentAttributes(of: file)
        return CommitResult(
            verifier: writeVerifier,
            wcc: WeakCacheConsistency(before: before == after ? before.consistency : nil, after: after))
    }

    /// The open file of a handle and what it looks like, if the caller may change it.
    private func openFileForChange(
        _ handle: FileHandle, as credentials: Credentials
    ) throws(MutationFailure) -> (OpenFile, FileAttributes) {
        let file: OpenFile
        let attributes: FileAttributes
        do throws(DatastoreError) {
            file = try openFile(handle)
            attributes = try currentAttributes(of: file)
        } catch {
            throw MutationFailure(error)
        }
        do throws(DatastoreError) {
            try checkWrite(file, attributes, by: handle, as: credentials)
        } catch {
            throw MutationFailure(
                error, wcc: WeakCacheConsistency(before: attributes.consistency, after: attributes))
        }
        return (file, attributes)
    }
}

extension OpenFile {
    /// Writes to the cache and the file, and lets introspection know; returns how many bytes were written, fewer than all
    /// where there was no room for more. Opens the file for writing if need be; the caller has noted the write in
    /// `ranges`, and got `ticket` for it.
    ///
    /// In `writethrough` the log has the bytes first, then the file. The range is held over both, and the destager moves
    /// only what is the log's newest while it holds the range: no older block comes over a newer one in the file
    /// (invariant 3).
    @discardableResult func write(
        _ bytes: UnsafeRawBufferPointer, at offset: Int, stability: WriteStability,
        under ticket: RangeTable.WriteTicket,
        for writer: DataWriter? = nil
    ) throws(StorageError) -> Int {
        guard !bytes.isEmpty else { return 0 }
        let member = member
        cacheWrite(bytes, at: offset, member: member)
        var written = bytes.count
        do throws(StorageError) {
            writer?.clearSpecialBits(of: descriptor.rawValue)
            switch try redirect(bytes, at: offset, member: member, under: ticket) {
            case .file: written = try writeFile(bytes, at: offset, stability: stability, for: writer, mayBeShort: true)
            case .log: break
            case .both:
                let stability = max(stability, .dataSync)
                do throws(StorageError) {
                    _ = try writeFile(bytes, at: offset, stability: stability, for: writer, mayBeShort: false)
                } catch {
                    let range = ByteRange(offset: offset, length: bytes.count)
                    let isUntouched = Self.harmlessFailures.contains(error.errorNumber)
                    redirects?.noteMissedWrite(range, isUntouched: isUntouched, path: path)
                    throw error
                }
            }
        } catch {
            noteFailedWrite(error, of: ByteRange(offset: offset, length: bytes.count), member)
            throw error
        }
        if written < bytes.count {
            forgetPages(of: ByteRange(offset: offset + written, length: bytes.count - written))
        }
        // What the file is part of by now: a session that has just begun may have read what was there before.
        guard let member = self.member else { return written }
        let part = UnsafeRawBufferPointer(rebasing: bytes[..<written])
        member.session.recordWrite(part, file: member.index, at: offset)
        return written
    }

    /// The file has not taken a write, or not all of it. Only what the storage says may have lost what others wrote: a
    /// client whose writes fail for want of room, or go too far, troubles nobody else.
    private func noteFailedWrite(_ error: StorageError, of range: ByteRange, _ member: ImageSession.Member?) {
        guard Self.harmlessFailures.contains(error.errorNumber), !findsLostWrites() else {
            forgetFailedWrites()
            member?.session.requestScan()
            return
        }
        forgetPages(of: range)
    }

    /// Failures of a write that say of themselves that it was not begun.
    private static let harmlessFailures: Set<Int32> = [
        EFBIG, ENOSPC, EDQUOT, EPERM, EACCES, EROFS, EBADF, ETXTBSY, EINVAL, EAGAIN, ENOMEM,
    ]

    /// Lets the redirect log take a write, if it is to.
    private func redirect(
        _ bytes: UnsafeRawBufferPointer, at offset: Int, member: ImageSession.Member?,
        under ticket: RangeTable.WriteTicket
    ) throws(StorageError) -> FileRedirects.Taker {
        guard let redirects else { return .file }
        let taker = try redirects.write(
            bytes, at: offset, fileSize: try size(), member: member, path: path, makeLengthDurable: makeLengthDurable,
            writer: writer, holding: (ranges, ticket))
        guard taker != .file else { return .file }
        // Clients tell by the time of change that there is something new.
        _ = lateTimes?.mayBeLate(path: path, atOnce: true)
        _ = futimens(descriptor.rawValue, nil)
        _ = lateTimes?.mayStillBeLate(path: path)
        return taker
    }

    /// Writes to the file; returns how many bytes it has taken.
    ///
    /// - Parameter mayBeShort: whether the bytes that there was room for count when there was none for the others. They
    ///   are as durable as they should be, and the file is no longer than they say.
    private func writeFile(
        _ bytes: UnsafeRawBufferPointer, at offset: Int, stability: WriteStability, for writer: DataWriter?,
        mayBeShort: Bool
    ) throws(StorageError) -> Int {
        let file = try self.writer()
        // Another's flush may take what the kernel has to tell of these very pages: a stable write looks for itself, as
        // commits do.
        let failures = writebackFailures.withLock { $0 }
        let flags: Int32 =
            switch stability {
            case .unstable: 0
            case .dataSync: linux_rwf_dsync
            case .fileSync: lateTimes?.mayBeLate(path: path) == true ? linux_rwf_dsync : linux_rwf_sync
            }
        var done = 0
        LockRank.willWait(for: "a write")
        while done < bytes.count {
            let rest = bytes.baseAddress.map { $0 + done }
            let left = bytes.count - done
            let count =
                writer?.write(file.rawValue, rest, left, at: offset + done, flags: flags)
                ?? linux_pwritev2(file.rawValue, rest, left, offset + done, flags)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else {
                let range = ByteRange(offset: offset + done, length: bytes.count - done)
                let error = StorageError.lastSystemError(operation: "write", device: path, range: range)
                closeWriter()
                guard mayBeShort, done > 0, Self.harmlessFailures.contains(error.errorNumber) else { throw error }
                if findsLostWrites() {
                    throw StorageError(.system(EIO), operation: "write", device: path, range: range)
                }
                break
            }
            done += count
        }
        if flags == 0 { try noteUnstableWrite() } else { try checkWriteback(since: failures) }
        if stability == .fileSync, flags == linux_rwf_dsync, lateTimes?.mayStillBeLate(path: path) != true {
            try flush()
        }
        return done
    }
}
