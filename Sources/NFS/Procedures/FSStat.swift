import Datastore
import SunRPC

/// FSSTAT: how full the file system of an object is (RFC 1813 section 3.3.18).
struct FSStat: NFSProcedure {
    private let object: FileHandle

    init(from reader: inout XDRReader) throws(XDRError) {
        object = try reader.handle()
    }

    func answer(_ call: NFSCall, into reply: inout XDRWriter) {
        do throws(DatastoreError) {
            let status = try call.datastore.fileSystemStatus(object, as: call.credentials)
            reply.write(NFSStatus.ok)
            reply.writeOptional(status.attributes)
            reply.write(status.totalBytes)
            reply.write(status.freeBytes)
            reply.write(status.availableBytes)
            reply.write(status.totalFiles)
            reply.write(status.freeFiles)
            reply.write(status.availableFiles)
            // invarsec: other processes write to the same file system, so that nothing is promised.
            reply.write(UInt32(0))
        } catch {
            reply.write(error, attributes: call.attributesIfAvailable(object))
        }
    }
}
