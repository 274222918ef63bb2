import Datastore
import NIOCore
import SunRPC

/// READ: bytes of a file (RFC 1813 section 3.3.6).
///
/// The bytes are copied once, from the cache or the storage to where they stand in the reply. Everything before them
/// has a fixed length and is filled in when it is known.
struct Read: QuickProcedure {
    private let file: FileHandle
    private let offset: UInt64
    /// At most what FSINFO announced: a client that asks for more gets a short answer, as the RFC allows.
    private let count: Int

    /// Status, attributes with their flag, count, end of file, and the length of the bytes.
    private static let headerByteCount = 4 + 4 + XDRWriter.attributesByteCount + 4 + 4 + 4

    init(from reader: inout XDRReader) throws(XDRError) {
        file = try reader.handle()
        offset = try reader.uint64()
        count = min(Int(try reader.uint32()), NFSProgram.maximumTransfer)
    }

    /// What the results can take, by the count that stands in the arguments behind handle and offset.
    static func mostReplyBytes(_ arguments: ByteBuffer) -> Int {
        let start = arguments.readerIndex
        let length = Int(arguments.getInteger(at: start, as: UInt32.self) ?? 0)
        guard length <= FileHandle.maximumCount else { return 0 }
        let place = start + 4 + length + XDRWriter.padding(for: length) + 8
        let count = Int(arguments.getInteger(at: place, as: UInt32.self) ?? 0)
        return headerByteCount + min(count, NFSProgram.maximumTransfer) + 3
    }

    var lane: Lane { .bulk }
    var replyCapacity: Int { Self.headerByteCount + count + 3 }

    func answer(_ call: NFSCall, into reply: inout XDRWriter) {
        let start = reply.reserve(Self.headerByteCount)
        do throws(DatastoreError) {
            let result = try call.datastore.read(
                file, offset: offset, count: count, as: call.credentials, into: &reply.buffer)
            complete(result, at: start, &reply)
        } catch {
            fail(error, call, at: start, &reply)
        }
    }

    func answerWithoutWaiting(_ call: NFSCall, into reply: inout XDRWriter) -> Bool {
        let start = reply.reserve(Self.headerByteCount)
        do throws(DatastoreError) {
            let result = try call.datastore.readFromCache(
                file, offset: offset, count: count, as: call.credentials, into: &reply.buffer)
            guard let result else { return false }
            complete(result, at: start, &reply)
            return true
        } catch {
            // The attributes that go with a failure may take I/O.
            return false
        }
    }

    private func complete(_ result: ReadResult, at start: Int, _ reply: inout XDRWriter) {
        let end = reply.buffer.writerIndex
        reply.truncate(to: start)
        reply.write(NFSStatus.ok)
        reply.writeOptional(result.attributes)
        reply.write(UInt32(truncatingIfNeeded: result.count))
        reply.write(result.isEndOfFile)
        reply.write(UInt32(truncatingIfNeeded: result.count))
        reply.buffer.moveWriterIndex(to: end)
        reply.writePadding(for: result.count)
    }

    private func fail(_ error: DatastoreError, _ call: NFSCall, at start: Int, _ reply: inout XDRWriter) {
        reply.truncate(to: start)
        reply.write(error, attributes: call.attributesIfAvailable(file))
    }
}
