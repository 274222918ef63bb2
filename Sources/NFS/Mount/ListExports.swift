import Datastore
import SunRPC

extension MountProgram {
    /// EXPORT: what can be mounted, and by whom (RFC 1813 section 5.2.5).
    ///
    /// `showmount` prints the client ranges joined by commas, so that scripts which read two words a line (XCP-ng's)
    /// can read it.
    func listExports(_ responder: RPCResponder) {
        var reply = responder.makeReply(capacity: 1024)
        for export in datastore.exports {
            reply.write(true)
            reply.write(export.path)
            for range in export.allowedClients {
                reply.write(true)
                reply.write(range.description)
            }
            reply.write(false)
        }
        reply.write(false)
        responder.send(reply)
    }
}
