import Datastore
import SunRPC

/// SETATTR: new attributes for an object, on condition of its change time if the client so wishes (RFC 1813
/// section 3.3.2).
struct SetAttr: NFSProcedure {
    private let object: FileHandle
    private let changes: AttributeChanges
    private let guardTime: FileTime?

    init(from reader: inout XDRReader) throws(XDRError) {
        object = try reader.handle()
        changes = try reader.attributeChanges()
        guardTime = try reader.bool() ? try reader.time() : nil
    }

    var lane: Lane { changes.size == nil ? .attributes(object) : .bulk }

    func answer(_ call: NFSCall, into reply: inout XDRWriter) {
        do throws(MutationFailure) {
            let consistency = try call.datastore.setAttributes(
                object, changes, guard: guardTime, as: call.credentials)
            reply.write(NFSStatus.ok)
            reply.write(consistency)
        } catch {
            reply.write(error)
        }
    }
}
