import Datastore
import SunRPC

extension XDRWriter {
    /// The encoded length of `fattr3`, in bytes.
    static let attributesByteCount = 84

    /// `nfstime3`: what does not fit 32 unsigned bits of seconds becomes the nearest moment that does.
    mutating func write(_ time: FileTime) {
        write(UInt32(clamping: time.seconds))
        write(time.nanoseconds)
    }

    /// `fattr3` (RFC 1813 section 2.6).
    mutating func write(_ attributes: FileAttributes) {
        write(attributes.type)
        write(attributes.mode)
        write(attributes.linkCount)
        write(attributes.uid)
        write(attributes.gid)
        write(attributes.size)
        write(attributes.used)
        write(attributes.deviceMajor)
        write(attributes.deviceMinor)
        write(attributes.fsid)
        write(attributes.fileid)
        write(attributes.accessTime)
        write(attributes.modificationTime)
        write(attributes.changeTime)
    }

    /// `post_op_attr` (RFC 1813 section 2.6).
    mutating func writeOptional(_ attributes: FileAttributes?) {
        write(attributes != nil)
        if let attributes {
            write(attributes)
        }
    }
}
