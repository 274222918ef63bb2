import Datastore
import SunRPC

/// LINK: one name more for a file (RFC 1813 section 3.3.15).
struct Link: NFSProcedure {
    private let file: FileHandle
    private let place: DirectoryOperand

    init(from reader: inout XDRReader) throws(XDRError) {
        file = try reader.handle()
        place = try reader.directoryOperand()
    }

    func answer(_ call: NFSCall, into reply: inout XDRWriter) {
        do throws(LinkFailure) {
            let result = try call.datastore.link(file, place.directory, place.name, as: call.credentials)
            reply.write(NFSStatus.ok)
            reply.writeOptional(result.attributes)
            reply.write(result.directory)
        } catch {
            reply.write(NFSStatus(error.error))
            reply.writeOptional(error.attributes)
            reply.write(error.directory)
        }
    }
}
