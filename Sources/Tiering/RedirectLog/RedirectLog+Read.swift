import BlockStorage
import Glibc

extension RedirectLog {
    /// A reader that finds the space of its record used again looks up anew, so many times at most.
    private static let mostAttempts = 100

    /// Reads `range` of `image`: what is redirected from the log, and the rest through `readImage`, which is called for
    /// the whole range unless one record has all of it.
    ///
    /// - Throws: also when a record is damaged: its bytes are nowhere else, and older ones are never given instead.
    public func read(
        _ range: ByteRange, of image: ImageIdentity, into buffer: UnsafeMutableRawBufferPointer,
        readImage: () throws(StorageError) -> Void
    ) throws(StorageError) {
        for _ in 0..<Self.mostAttempts {
            let redirects = redirects(of: image, in: range)
            if redirects.first?.range != range { try readImage() }
            var isComplete = true
            for redirect in redirects where isComplete {
                let start = redirect.range.offset - range.offset
                let target = UnsafeMutableRawBufferPointer(
                    rebasing: buffer[start..<start + redirect.range.length])
                isComplete = try read(redirect, of: image, into: target)
            }
            if isComplete { return }
        }
        throw StorageError(.system(EAGAIN), operation: "read redirected bytes", device: ring.device.name, range: range)
    }

    /// The redirects of `range` of `image`, in order.
    func redirects(of image: ImageIdentity, in range: ByteRange) -> [RedirectIndex.Redirect] {
        monitor.withLock {
            guard let number = state.numbers[image] else { return [] }
            return state.index.redirects(image: number, range)
        }
    }

    /// Reads the bytes of a redirect from its record and verifies them.
    ///
    /// - Returns: false when the redirect is dead by now, and the space of its record was used again.
    func read(
        _ redirect: RedirectIndex.Redirect, of image: ImageIdentity, into buffer: UnsafeMutableRawBufferPointer
    ) throws(StorageError) -> Bool {
        if let record = try header(at: redirect.position), record.kind == .write, record.image == image,
            record.range.contains(redirect.range)
        {
            let payload = try payload(of: record)
            let isWhole = payload.withUnsafeBytes { payload in
                guard CRC32C.checksum(payload) == record.payloadChecksum else { return false }
                let start = redirect.range.offset - record.offset
                buffer.copyMemory(
                    from: UnsafeRawBufferPointer(rebasing: payload[start..<start + redirect.range.length]))
                return true
            }
            if isWhole { return true }
        }
        guard !redirects(of: image, in: redirect.range).contains(redirect) else {
            let offset = geometry.ringStart + redirect.position % geometry.ringSize
            throw StorageError(
                .damaged, operation: "read redirected bytes", device: ring.device.name,
                range: ByteRange(offset: offset, length: redirect.range.length))
        }
        return false
    }

    /// The header at `position`; nil when no valid one says that it stands there.
    func header(at position: Int) throws(StorageError) -> LogRecord? {
        var record: LogRecord?
        var failure: StorageError?
        withUnsafeTemporaryAllocation(byteCount: LogRecord.headerSize, alignment: 8) { header in
            do throws(StorageError) {
                try ring.read(into: header, at: position)
                record = LogRecord(UnsafeRawBufferPointer(header))
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        guard let record, record.position == position, record.length < geometry.ringSize else { return nil }
        return record
    }

    /// The payload of a record, not verified.
    func payload(of record: LogRecord) throws(StorageError) -> [UInt8] {
        var failure: StorageError?
        let payload = [UInt8](unsafeUninitializedCapacity: record.length) { buffer, count in
            do throws(StorageError) {
                let start = record.position + LogRecord.headerSize
                try ring.read(into: UnsafeMutableRawBufferPointer(buffer), at: start)
                count = record.length
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        return payload
    }
}
