import Datastore
import SunRPC

/// LOOKUP: the object of a name in a directory (RFC 1813 section 3.3.3).
struct Lookup: NFSProcedure {
    private let what: DirectoryOperand

    init(from reader: inout XDRReader) throws(XDRError) {
        what = try reader.directoryOperand()
    }

    func answer(_ call: NFSCall, into reply: inout XDRWriter) {
        do throws(DatastoreError) {
            let found = try call.datastore.lookup(what.directory, what.name, as: call.credentials)
            reply.write(NFSStatus.ok)
            reply.write(found.handle)
            reply.writeOptional(found.attributes)
            reply.writeOptional(found.directory)
        } catch {
            reply.write(error, attributes: call.attributesIfAvailable(what.directory))
        }
    }
}
