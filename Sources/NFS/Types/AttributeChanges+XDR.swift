import Datastore
import SunRPC

/// `time_how` (RFC 1813 section 2.6).
private enum TimeHow: UInt32 {
    case unchanged = 0
    case serverTime = 1
    case clientTime = 2
}

extension XDRReader {
    /// `nfstime3` (RFC 1813 section 2.6). Nanoseconds of a full second and more are not a time.
    mutating func time() throws(XDRError) -> FileTime {
        let seconds = try uint32()
        let start = offset
        let nanoseconds = try uint32()
        guard nanoseconds < 1_000_000_000 else { throw XDRError(.invalidValue(nanoseconds), offset: start) }
        return FileTime(seconds: Int64(seconds), nanoseconds: nanoseconds)
    }

    /// `sattr3` (RFC 1813 section 2.6).
    mutating func attributeChanges() throws(XDRError) -> AttributeChanges {
        var changes = AttributeChanges()
        if try bool() { changes.mode = try uint32() }
        if try bool() { changes.uid = try uint32() }
        if try bool() { changes.gid = try uint32() }
        if try bool() { changes.size = try uint64() }
        changes.accessTime = try timeChange()
        changes.modificationTime = try timeChange()
        return changes
    }

    private mutating func timeChange() throws(XDRError) -> AttributeChanges.Time? {
        switch try enumeration(TimeHow.self) {
        case .unchanged: nil
        case .serverTime: .now
        case .clientTime: .at(try time())
        }
    }
}
