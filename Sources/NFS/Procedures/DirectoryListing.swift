import Datastore
import NIOCore
import SunRPC

/// The entries of one READDIR or READDIRPLUS reply, encoded, within the limits that the client set.
struct DirectoryListing: ~Copyable {
    /// The most bytes in one reply, whatever the client allows.
    static let maximumByteCount = 64 << 10

    /// What every reply holds besides entries: attributes with their flag, verifier, end of list, end of directory.
    private static let fixedByteCount = 4 + XDRWriter.attributesByteCount + 8 + 4 + 4
    /// A name's share of the reply: flag, file number, length, cookie, and its bytes, padded.
    private static func nameByteCount(_ entry: borrowing DirectoryEntry) -> Int {
        24 + entry.name.count + XDRWriter.padding(for: entry.name.count)
    }

    private let detail: DirectoryDetail
    /// What is left for whole entries, in bytes.
    private var remaining: Int
    /// What is left for names without attributes and handles, in bytes (`dircount`).
    private var remainingForNames: Int
    private var entries: XDRWriter
    private var isEmpty = true

    /// Room for entries in a result of `limit` bytes, `nameLimit` of them for names.
    init(detail: DirectoryDetail, limit: UInt32, nameLimit: UInt32) {
        self.detail = detail
        remaining = min(Int(limit), Self.maximumByteCount) - Self.fixedByteCount
        remainingForNames = Int(nameLimit)
        entries = XDRWriter(capacity: max(remaining, 0))
    }

    /// Appends `entry`, or returns false because it does not fit.
    mutating func append(_ entry: DirectoryEntry) -> Bool {
        let nameByteCount = Self.nameByteCount(entry)
        let start = entries.count
        guard nameByteCount <= min(remaining, remainingForNames) else { return false }
        entries.write(true)
        entries.write(entry.fileid)
        entries.writeOpaque(entry.name.bytes)
        entries.write(entry.cookie)
        if detail == .attributesAndHandles {
            entries.writeOptional(entry.attributes)
            entries.writeOptional(entry.handle)
        }
        let byteCount = entries.count - start
        guard byteCount <= remaining else {
            entries.truncate(to: start)
            return false
        }
        remaining -= byteCount
        remainingForNames -= nameByteCount
        isEmpty = false
        return true
    }

    /// Writes the results: the entries with what `page` says of them.
    ///
    /// A reply without entries would have the client ask for ever: when the first one does not fit, the call fails.
    consuming func write(_ page: DirectoryPage, into reply: inout XDRWriter) {
        guard remaining >= 0, !isEmpty || page.isEndOfDirectory else {
            reply.write(NFSStatus.tooSmall)
            reply.writeOptional(page.attributes)
            return
        }
        reply.write(NFSStatus.ok)
        reply.writeOptional(page.attributes)
        reply.write(page.verifier)
        reply.buffer.writeImmutableBuffer(entries.buffer)
        reply.write(false)
        reply.write(page.isEndOfDirectory)
    }
}
