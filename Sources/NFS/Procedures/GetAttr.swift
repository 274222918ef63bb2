import Datastore
import SunRPC

/// GETATTR: the attributes of an object (RFC 1813 section 3.3.1).
struct GetAttr: NFSProcedure {
    private let object: FileHandle

    init(from reader: inout XDRReader) throws(XDRError) {
        object = try reader.handle()
    }

    func answer(_ call: NFSCall, into reply: inout XDRWriter) {
        do throws(DatastoreError) {
            let attributes = try call.datastore.getAttributes(object, as: call.credentials)
            reply.write(NFSStatus.ok)
            reply.write(attributes)
        } catch {
            reply.write(NFSStatus(error))
        }
    }
}
