import Datastore
import SunRPC

/// READDIRPLUS: names in a directory with their objects' attributes and handles (RFC 1813 section 3.3.17).
struct ReadDirPlus: NFSProcedure {
    private let directory: FileHandle
    private let cookie: UInt64
    private let verifier: UInt64
    private let nameLimit: UInt32
    private let limit: UInt32

    init(from reader: inout XDRReader) throws(XDRError) {
        directory = try reader.handle()
        cookie = try reader.uint64()
        verifier = try reader.uint64()
        nameLimit = try reader.uint32()
        limit = try reader.uint32()
    }

    var lane: Lane { .listing }

    func answer(_ call: NFSCall, into reply: inout XDRWriter) {
        var listing = DirectoryListing(detail: .attributesAndHandles, limit: limit, nameLimit: nameLimit)
        do throws(DatastoreError) {
            let page = try call.datastore.readDirectory(
                directory, cookie: cookie, verifier: verifier, detail: .attributesAndHandles, as: call.credentials
            ) { listing.append($0) }
            listing.write(page, into: &reply)
        } catch {
            reply.write(error, attributes: call.attributesIfAvailable(directory))
        }
    }
}
