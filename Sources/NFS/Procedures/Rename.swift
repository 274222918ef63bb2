import Datastore
import SunRPC

/// RENAME: a new name, perhaps in another directory, for an object (RFC 1813 section 3.3.14).
struct Rename: NFSProcedure {
    private let source: DirectoryOperand
    private let destination: DirectoryOperand

    init(from reader: inout XDRReader) throws(XDRError) {
        source = try reader.directoryOperand()
        destination = try reader.directoryOperand()
    }

    func answer(_ call: NFSCall, into reply: inout XDRWriter) {
        do throws(RenameFailure) {
            let result = try call.datastore.rename(
                source.directory, source.name, to: destination.directory, destination.name, as: call.credentials)
            reply.write(NFSStatus.ok)
            reply.write(result.source)
            reply.write(result.destination)
        } catch {
            reply.write(NFSStatus(error.error))
            reply.write(error.source)
            reply.write(error.destination)
        }
    }
}
