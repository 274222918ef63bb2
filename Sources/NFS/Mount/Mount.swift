import BlockStorage
import Datastore
import NIOCore
import SunRPC

extension MountProgram {
    /// `auth_flavors` in the order of preference: AUTH_SYS, and AUTH_NONE for clients content to be nobody.
    private static let flavors: [UInt32] = [1, 0]

    /// MNT: the handle of an export or of a directory in it (RFC 1813 section 5.2.1); `path` is nil when it is too
    /// long. Blocks.
    func mount(_ path: [UInt8]?, _ call: RPCCall, _ responder: RPCResponder) {
        // What a client sends must not begin a line of its own in the log.
        let quoted = "\"\(ByteString(path ?? []))\""
        var reply = responder.makeReply(capacity: 96)
        do throws(DatastoreError) {
            guard let path else { throw DatastoreError(.nameTooLong, "the path is longer than any directory's") }
            let handle = try datastore.mount(path, client: call.clientAddress)
            reply.write(MountStatus.ok)
            reply.write(handle)
            reply.write(UInt32(Self.flavors.count))
            for flavor in Self.flavors {
                reply.write(flavor)
            }
            table.add(MountTable.Entry(host: call.clientName, directory: path))
            logger.info("mounted \(quoted)", metadata: ["client": "\(call.clientName)"])
        } catch {
            guard error.code != .storeLost else { return responder.closeConnection(because: "\(error)") }
            reply.write(MountStatus(error))
            logger.notice("mount of \(quoted) refused: \(error)", metadata: ["client": "\(call.clientName)"])
        }
        responder.send(reply)
    }
}

extension RPCCall {
    /// The client's address; a call that came over no network is this machine's.
    fileprivate var clientAddress: ClientAddress { remoteAddress.map(ClientAddress.init) ?? .loopback }
}
