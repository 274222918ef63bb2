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
        throw StorageError(.system(EAGAIN), operation: "read redirected bytes", device: ring.name, range: range)
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
        let found = try record(at: redirect.position) {
            $0.kind == .write && $0.image == image && $0.range.contains(redirect.range)
        }
        if let found {
            let start = redirect.range.offset - found.record.offset
            found.payload.withUnsafeBytes { payload in
                buffer.copyMemory(
                    from: UnsafeRawBufferPointer(rebasing: payload[start..<start + redirect.range.length]))
            }
            return true
        }
        guard !redirects(of: image, in: redirect.range).contains(redirect) else {
            let offset = geometry.ringStart + redirect.position % geometry.ringSize
            throw StorageError(
                .damaged, operation: "read redirected bytes", device: ring.name,
                range: ByteRange(offset: offset, length: redirect.range.length))
        }
        return false
    }

    /// A record whose checksums are right, its payload, and the side of the mirror that has it.
    struct FoundRecord {
        var record: LogRecord
        var payload: [UInt8]
        var side: Int
    }

    /// The valid record at `position` that is wanted, from whichever side has it; nil when none has.
    ///
    /// - Throws: when a side that may have it cannot be read, and no other has it.
    func record(at position: Int, where isWanted: (LogRecord) -> Bool) throws(StorageError) -> FoundRecord? {
        var failure: StorageError?
        for side in ring.sides.indices {
            do throws(StorageError) {
                guard let record = try header(at: position, side: side), isWanted(record) else { continue }
                let payload = try payload(of: record, side: side)
                guard payload.withUnsafeBytes({ CRC32C.checksum($0) }) == record.payloadChecksum else { continue }
                return FoundRecord(record: record, payload: payload, side: side)
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        return nil
    }

    /// The header at `position`; nil when no valid one says that it stands there.
    private func header(at position: Int, side: Int) throws(StorageError) -> LogRecord? {
        var record: LogRecord?
        var failure: StorageError?
        withUnsafeTemporaryAllocation(byteCount: LogRecord.headerSize, alignment: 8) { header in
            do throws(StorageError) {
                try ring.read(into: header, at: position, side: side)
                record = LogRecord(UnsafeRawBufferPointer(header))
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        guard let record, record.position == position, record.length <= geometry.longestRecord else { return nil }
        return record
    }

    /// The payload of a record, not verified.
    private func payload(of record: LogRecord, side: Int) throws(StorageError) -> [UInt8] {
        var failure: StorageError?
        let payload = [UInt8](unsafeUninitializedCapacity: record.length) { buffer, count in
            do throws(StorageError) {
                let start = record.position + LogRecord.headerSize
                try ring.read(into: UnsafeMutableRawBufferPointer(buffer), at: start, side: side)
                count = record.length
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        return payload
    }
}
