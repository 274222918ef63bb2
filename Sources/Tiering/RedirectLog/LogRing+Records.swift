import BlockStorage

extension LogRing {
    /// A record whose checksums are right, its payload, and the side of the mirror that has it.
    struct FoundRecord {
        var record: LogRecord
        var payload: [UInt8]
        var side: Int
    }

    /// The valid record at `position` that is wanted, from whichever side has it; nil when none has.
    ///
    /// - Parameter some: the sides that are asked; nil for all.
    /// - Throws: when a side that may have it cannot be read, and no other has it.
    func record(
        at position: Int, on some: [Int]? = nil, where isWanted: (LogRecord) -> Bool
    ) throws(StorageError) -> FoundRecord? {
        var failure: StorageError?
        for side in some ?? Array(sides.indices) {
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
                try read(into: header, at: position, side: side)
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
                try read(into: UnsafeMutableRawBufferPointer(buffer), at: start, side: side)
                count = record.length
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        return payload
    }
}
