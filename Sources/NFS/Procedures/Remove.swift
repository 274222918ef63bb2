import Datastore
import SunRPC

/// REMOVE: takes a name of anything but a directory away (RFC 1813 section 3.3.12).
struct Remove: NFSProcedure {
    private let what: DirectoryOperand

    init(from reader: inout XDRReader) throws(XDRError) {
        what = try reader.directoryOperand()
    }

    func answer(_ call: NFSCall, into reply: inout XDRWriter) {
        do throws(MutationFailure) {
            let consistency = try call.datastore.remove(what.directory, what.name, as: call.credentials)
            reply.write(NFSStatus.ok)
            reply.write(consistency)
        } catch {
            reply.write(error)
        }
    }
}
