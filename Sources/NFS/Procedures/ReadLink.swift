import Datastore
import SunRPC

/// READLINK: the text of a symbolic link (RFC 1813 section 3.3.5).
struct ReadLink: NFSProcedure {
    private let link: FileHandle

    init(from reader: inout XDRReader) throws(XDRError) {
        link = try reader.handle()
    }

    func answer(_ call: NFSCall, into reply: inout XDRWriter) {
        do throws(DatastoreError) {
            let target = try call.datastore.readLink(link, as: call.credentials)
            reply.write(NFSStatus.ok)
            reply.writeOptional(target.attributes)
            reply.writeOpaque(target.bytes.span.bytes)
        } catch {
            reply.write(error, attributes: call.attributesIfAvailable(link))
        }
    }
}
