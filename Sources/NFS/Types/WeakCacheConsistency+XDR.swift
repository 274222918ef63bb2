import Datastore
import SunRPC

extension XDRWriter {
    /// `wcc_data`: what is not known is left out (RFC 1813 section 2.6).
    mutating func write(_ consistency: WeakCacheConsistency) {
        write(consistency.before != nil)
        if let before = consistency.before {
            write(before.size)
            write(before.modificationTime)
            write(before.changeTime)
        }
        writeOptional(consistency.after)
    }
}
