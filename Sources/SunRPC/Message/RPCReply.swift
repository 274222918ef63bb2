import NIOCore

/// Replies as they go on the wire: record mark, then `rpc_msg` (RFC 5531 sections 9 and 11).
enum RPCReply {
    /// Bytes from the record mark to the first result.
    static let headerLength = 28
    /// Most bytes of a reply to a call that was not carried out: the versions that there are follow the status.
    static let mostFailureBytes = headerLength + 8

    /// The start of the reply to a call that was carried out; the record mark is still 0.
    static func success(xid: UInt32, capacity: Int) -> XDRWriter {
        var buffer = ByteBufferAllocator().buffer(capacity: headerLength + capacity)
        buffer.writeMultipleIntegers(
            0 as UInt32, xid, RPCMessageType.reply, RPCReplyStatus.accepted,
            AuthenticationFlavor.none, 0 as UInt32, RPCAcceptStatus.success)
        return XDRWriter(appendingTo: buffer)
    }

    /// The whole reply to a call that was not.
    static func failure(xid: UInt32, _ failure: RPCFailure) -> ByteBuffer {
        var writer = XDRWriter(capacity: mostFailureBytes)
        writer.write(0 as UInt32)
        writer.write(xid)
        writer.write(RPCMessageType.reply)
        switch failure {
        case .rpcVersionMismatch:
            writer.write(RPCReplyStatus.denied)
            writer.write(RPCRejectStatus.versionMismatch)
            writer.write(RPCCallHeader.rpcVersion)
            writer.write(RPCCallHeader.rpcVersion)
        case .authError(let status):
            writer.write(RPCReplyStatus.denied)
            writer.write(RPCRejectStatus.authError)
            writer.write(status)
        case .programUnavailable:
            writeAccepted(RPCAcceptStatus.programUnavailable, to: &writer)
        case .programMismatch(let supported):
            writeAccepted(RPCAcceptStatus.programMismatch, to: &writer)
            writer.write(supported.lowerBound)
            writer.write(supported.upperBound)
        case .procedureUnavailable:
            writeAccepted(RPCAcceptStatus.procedureUnavailable, to: &writer)
        case .garbageArguments:
            writeAccepted(RPCAcceptStatus.garbageArguments, to: &writer)
        case .systemError:
            writeAccepted(RPCAcceptStatus.systemError, to: &writer)
        }
        return seal(writer)
    }

    /// The finished record: its mark says how long it is, and that it is the last fragment.
    static func seal(_ writer: consuming XDRWriter) -> ByteBuffer {
        writer.patch(RecordMark.last(length: writer.count - RecordMark.length), at: 0)
        return writer.buffer
    }

    private static func writeAccepted(_ status: UInt32, to writer: inout XDRWriter) {
        writer.write(RPCReplyStatus.accepted)
        writer.write(AuthenticationFlavor.none)
        writer.write(0 as UInt32)
        writer.write(status)
    }
}
