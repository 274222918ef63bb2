import Datastore
import SunRPC

/// FSINFO: what the server and the file system of an object can do (RFC 1813 section 3.3.19).
struct FSInfo: NFSProcedure {
    private let object: FileHandle

    /// Transfers of whole blocks of this size are the cheapest, in bytes.
    private static let transferMultiple: UInt32 = 4096

    /// The bits of `properties`.
    private enum Property {
        static let hardLinks: UInt32 = 0x01
        static let symbolicLinks: UInt32 = 0x02
        static let homogeneous: UInt32 = 0x08
        static let settableTimes: UInt32 = 0x10
    }

    init(from reader: inout XDRReader) throws(XDRError) {
        object = try reader.handle()
    }

    func answer(_ call: NFSCall, into reply: inout XDRWriter) {
        do throws(DatastoreError) {
            let information = try call.datastore.fileSystemInformation(object, as: call.credentials)
            write(information, into: &reply)
        } catch {
            reply.write(error, attributes: call.attributesIfAvailable(object))
        }
    }

    private func write(_ information: FileSystemInformation, into reply: inout XDRWriter) {
        let transfer = UInt32(NFSProgram.maximumTransfer)
        var properties = Property.homogeneous | Property.settableTimes
        if information.supportsHardLinks { properties |= Property.hardLinks }
        if information.supportsSymbolicLinks { properties |= Property.symbolicLinks }

        reply.write(NFSStatus.ok)
        reply.writeOptional(information.attributes)
        // Most, preferred and multiple: first of READ, then of WRITE.
        for _ in 0..<2 {
            reply.write(transfer)
            reply.write(transfer)
            reply.write(Self.transferMultiple)
        }
        reply.write(UInt32(DirectoryListing.maximumByteCount))
        reply.write(information.maximumFileSize)
        reply.write(information.timeGranularity)
        reply.write(properties)
    }
}
