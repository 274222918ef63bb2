import SunRPC

extension MountProgram {
    /// DUMP: who mounted what (RFC 1813 section 5.2.2).
    func dumpMounts(_ responder: RPCResponder) {
        var reply = responder.makeReply(capacity: 4096)
        for entry in table.all {
            reply.write(true)
            reply.write(entry.host)
            reply.writeOpaque(entry.directory.span.bytes)
        }
        reply.write(false)
        responder.send(reply)
    }
}
