import Datastore
import SunRPC

/// COMMIT: puts what was written unstably on stable storage (RFC 1813 section 3.3.21).
struct Commit: NFSProcedure {
    private let file: FileHandle
    private let offset: UInt64
    /// Zero means: to the end of the file.
    private let count: UInt32

    init(from reader: inout XDRReader) throws(XDRError) {
        file = try reader.handle()
        offset = try reader.uint64()
        count = try reader.uint32()
    }

    var lane: Lane { .bulk }

    func answer(_ call: NFSCall, into reply: inout XDRWriter) {
        do throws(MutationFailure) {
            let result = try call.datastore.commit(file, offset: offset, count: count, as: call.credentials)
            reply.write(NFSStatus.ok)
            reply.write(result.wcc)
            reply.write(result.verifier)
        } catch {
            reply.write(call.completed(error, file))
        }
    }
}
