import BlockStorage
import Glibc
public import NIOCore

extension Datastore {
    /// A READ finds the file shorter than it was a moment ago so often at most.
    private static let mostTruncations = 64

    /// Reads without waiting, for callers on an event loop: from the cache of image blocks, or what the kernel has in
    /// memory.
    ///
    /// Appends the bytes to `buffer`; they are copied once.
    ///
    /// - Returns: nil when the answer needs the disk; `buffer` is as it was then.
    public func readFromCache(
        _ handle: FileHandle, offset: UInt64, count: Int, as credentials: Credentials, into buffer: inout ByteBuffer
    ) throws(DatastoreError) -> ReadResult? {
        guard let file = files.file(for: handle) else { return nil }
        let attributes = try file.descriptor.attributes()
        file.markUsed()
        // What has to be done then may wait for the disk.
        guard attributes.linkCount > 0, !file.mayBeChanged(attributes) else { return nil }
        let range = try prepareRead(
            of: file, attributes, by: handle, offset: offset, count: count, as: credentials)
        guard !range.isEmpty else { return result(of: range, attributes) }
        var isRead = false
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: range.length) { bytes in
            let target = UnsafeMutableRawBufferPointer(rebasing: bytes[..<range.length])
            isRead = file.readWithoutWaiting(range, into: target)
            return isRead ? range.length : 0
        }
        guard isRead else { return nil }
        readAhead(of: file, after: range, fileSize: Int(attributes.size))
        return result(of: range, attributes)
    }

    /// Reads from the cache or the disk; blocks.
    ///
    /// Appends the bytes to `buffer`. A read before the end of the file is never short.
    public func read(
        _ handle: FileHandle, offset: UInt64, count: Int, as credentials: Credentials, into buffer: inout ByteBuffer
    ) throws(DatastoreError) -> ReadResult {
        let file = try openFile(handle)
        for _ in 0..<Self.mostTruncations {
            let result = try read(file, by: handle, offset: offset, count: count, as: credentials, into: &buffer)
            if let result { return result }
        }
        throw DatastoreError(.retryLater, "\(file.path): is truncated again and again while it is read")
    }

    /// Reads from the cache or the disk; nil when the file was cut off meanwhile, where it is read.
    private func read(
        _ file: OpenFile, by handle: FileHandle, offset: UInt64, count: Int, as credentials: Credentials,
        into buffer: inout ByteBuffer
    ) throws(DatastoreError) -> ReadResult? {
        let attributes = try currentAttributes(of: file)
        if file.mayBeChanged(attributes), files.noteExternalChange(of: file), file.redirects?.isRefused == true {
            throw DatastoreError(.io, "\(file.path): was changed by another program")
        }
        let range = try prepareRead(
            of: file, attributes, by: handle, offset: offset, count: count, as: credentials)
        guard !range.isEmpty else { return result(of: range, attributes) }
        var failure: StorageError?
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: range.length) { bytes in
            let target = UnsafeMutableRawBufferPointer(rebasing: bytes[..<range.length])
            do throws(StorageError) {
                try files.background.whileReadWaits(for: file) { () throws(StorageError) in
                    try file.read(range, into: target)
                }
                return range.length
            } catch {
                failure = error
                return 0
            }
        }
        if let failure {
            if failure.code == .unexpectedEnd { return nil }
            logger.error("\(failure)")
            throw DatastoreError(failure)
        }
        readAhead(of: file, after: range, fileSize: Int(attributes.size))
        return result(of: range, attributes)
    }

    /// Checks a read and cuts it off at the end of the file.
    private func prepareRead(
        of file: OpenFile, _ attributes: FileAttributes, by handle: FileHandle, offset: UInt64, count: Int,
        as credentials: Credentials
    ) throws(DatastoreError) -> ByteRange {
        try checkRead(file, attributes, by: handle, as: credentials)
        let start = Int(clamping: min(offset, attributes.size))
        let length = min(max(count, 0), Int(clamping: attributes.size) - start)
        return ByteRange(offset: start, length: length)
    }

    private func result(of range: ByteRange, _ attributes: FileAttributes) -> ReadResult {
        ReadResult(count: range.length, isEndOfFile: range.end >= attributes.size, attributes: attributes)
    }

    private func readAhead(of file: OpenFile, after range: ByteRange, fileSize: Int) {
        guard let ahead = file.noteRead(range, fileSize: fileSize) else { return }
        file.readAhead(ahead) { read in
            readAheadPool.submit { [background = files.background] in
                background.yieldToOthers(than: file)
                read()
            }
        }
    }
}

extension Datastore {
    /// The file of a handle, opened if need be; blocks.
    func openFile(_ handle: FileHandle) throws(DatastoreError) -> OpenFile {
        if let file = files.file(for: handle) { return file }
        try checkIsWhole(handle)
        let file = try open(handle, flags: O_RDONLY)
        // With each name that comes or goes it would seem to be changed by another program.
        try checkRegular(file.openedAttributes)
        if noteReplacement(by: file) { try checkIsWhole(handle) }
        let entered = files.enter(file, for: handle)
        // It may have come to be refused meanwhile, unseen by those who close what is (``forgetRefusedImages()``).
        if entered.redirects?.isRefused == true {
            files.forget(entered.identity)
            try checkIsWhole(handle)
        }
        return entered
    }

    /// The attributes of an open file now; a file without a name is gone for clients.
    func currentAttributes(of file: OpenFile) throws(DatastoreError) -> FileAttributes {
        file.markUsed()
        let attributes = try file.descriptor.attributes()
        guard attributes.linkCount > 0 else {
            if file.redirects?.isKnown == true {
                files.forgetRemoved(file.descriptor, isDurable: false)
            } else {
                files.forget(file.identity)
            }
            throw DatastoreError(.stale, "\(file.path) was removed")
        }
        return attributes
    }
}

extension DatastoreError {
    init(_ error: StorageError) {
        self = .ofDescriptor(error.errorNumber, "\(error.device): \(error.operation)")
    }
}
