import Datastore
import SunRPC

/// PATHCONF: which names and links are possible at an object (RFC 1813 section 3.3.20).
struct PathConf: NFSProcedure {
    private let object: FileHandle

    init(from reader: inout XDRReader) throws(XDRError) {
        object = try reader.handle()
    }

    func answer(_ call: NFSCall, into reply: inout XDRWriter) {
        do throws(DatastoreError) {
            let configuration = try call.datastore.pathConfiguration(object, as: call.credentials)
            reply.write(NFSStatus.ok)
            reply.writeOptional(configuration.attributes)
            reply.write(configuration.maximumLinks)
            reply.write(configuration.maximumNameLength)
            // no_trunc, chown_restricted, case_insensitive, case_preserving: what Linux file systems are.
            reply.write(true)
            reply.write(true)
            reply.write(false)
            reply.write(true)
        } catch {
            reply.write(error, attributes: call.attributesIfAvailable(object))
        }
    }
}
