import Datastore
import NIOCore
import SunRPC

/// WRITE: bytes into a file (RFC 1813 section 3.3.7).
///
/// The bytes are handed on as a slice of what was received.
struct Write: NFSProcedure {
    private let file: FileHandle
    private let offset: UInt64
    private let stability: WriteStability
    /// Where the bytes are in the arguments: no more of them than FSINFO announced, a client that sends more is told of
    /// a short write, as the RFC allows.
    private let payload: Range<Int>

    /// WRITEs of fewer bytes may be a lock's heartbeat: guests write whole blocks.
    private static let bulkThreshold = 4096

    init(from reader: inout XDRReader) throws(XDRError) {
        file = try reader.handle()
        offset = try reader.uint64()
        let start = reader.offset
        let count = try reader.uint32()
        stability = try reader.enumeration()
        let bytes = try reader.opaqueRange(max: reader.remaining)
        guard Int(count) == bytes.count else { throw XDRError(.invalidValue(count), offset: start) }
        payload = bytes.prefix(NFSProgram.maximumTransfer)
    }

    var lane: Lane { payload.count < Self.bulkThreshold ? .heartbeat(file) : .bulk }

    func answer(_ call: NFSCall, into reply: inout XDRWriter) {
        let bytes = call.rpc.argumentSlice(payload) ?? ByteBuffer()
        do throws(MutationFailure) {
            let result = try call.datastore.write(
                file, offset: offset, bytes: bytes, stability: stability, as: call.credentials)
            reply.write(NFSStatus.ok)
            reply.write(result.wcc)
            reply.write(UInt32(truncatingIfNeeded: result.count))
            reply.write(result.committed)
            reply.write(result.verifier)
        } catch {
            reply.write(call.completed(error, file))
        }
    }
}
