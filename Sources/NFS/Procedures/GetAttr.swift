import Datastore
import SunRPC

/// GETATTR: the attributes of an object (RFC 1813 section 3.3.1).
struct GetAttr: QuickProcedure {
    private let object: FileHandle

    init(from reader: inout XDRReader) throws(XDRError) {
        object = try reader.handle()
    }

    func answer(_ call: NFSCall, into reply: inout XDRWriter) {
        do throws(DatastoreError) {
            complete(try call.datastore.getAttributes(object, as: call.credentials), &reply)
        } catch {
            reply.write(NFSStatus(error))
        }
    }

    func answerWithoutWaiting(_ call: NFSCall, into reply: inout XDRWriter) -> Bool {
        guard let attributes = call.datastore.attributesIfOpen(object) else { return false }
        complete(attributes, &reply)
        return true
    }

    private func complete(_ attributes: FileAttributes, _ reply: inout XDRWriter) {
        reply.write(NFSStatus.ok)
        reply.write(attributes)
    }
}
