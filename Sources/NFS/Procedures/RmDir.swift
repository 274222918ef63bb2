import Datastore
import SunRPC

/// RMDIR: removes an empty directory (RFC 1813 section 3.3.13).
struct RmDir: NFSProcedure {
    private let what: DirectoryOperand

    init(from reader: inout XDRReader) throws(XDRError) {
        what = try reader.directoryOperand()
    }

    func answer(_ call: NFSCall, into reply: inout XDRWriter) {
        do throws(MutationFailure) {
            let consistency = try call.datastore.removeDirectory(what.directory, what.name, as: call.credentials)
            reply.write(NFSStatus.ok)
            reply.write(consistency)
        } catch {
            reply.write(error)
        }
    }
}
