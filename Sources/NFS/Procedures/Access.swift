import Datastore
import SunRPC

/// ACCESS: which of some rights the caller has on an object (RFC 1813 section 3.3.4).
struct Access: NFSProcedure {
    private let object: FileHandle
    private let rights: AccessRights

    init(from reader: inout XDRReader) throws(XDRError) {
        object = try reader.handle()
        rights = AccessRights(rawValue: try reader.uint32())
    }

    func answer(_ call: NFSCall, into reply: inout XDRWriter) {
        do throws(DatastoreError) {
            let result = try call.datastore.access(object, rights, as: call.credentials)
            reply.write(NFSStatus.ok)
            reply.writeOptional(result.attributes)
            reply.write(result.granted.rawValue)
        } catch {
            reply.write(error, attributes: call.attributesIfAvailable(object))
        }
    }
}
