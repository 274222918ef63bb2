import Datastore
import SunRPC

/// MKDIR: a directory (RFC 1813 section 3.3.9).
struct MkDir: NFSProcedure {
    private let place: DirectoryOperand
    private let attributes: AttributeChanges

    init(from reader: inout XDRReader) throws(XDRError) {
        place = try reader.directoryOperand()
        attributes = try reader.attributeChanges()
    }

    func answer(_ call: NFSCall, into reply: inout XDRWriter) {
        do throws(MutationFailure) {
            reply.write(
                try call.datastore.makeDirectory(place.directory, place.name, attributes, as: call.credentials))
        } catch {
            reply.write(error)
        }
    }
}
