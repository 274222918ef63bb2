import Datastore
import SunRPC

/// READDIR: names in a directory (RFC 1813 section 3.3.16).
struct ReadDir: NFSProcedure {
    private let directory: FileHandle
    private let cookie: UInt64
    private let verifier: UInt64
    private let limit: UInt32

    init(from reader: inout XDRReader) throws(XDRError) {
        directory = try reader.handle()
        cookie = try reader.uint64()
        verifier = try reader.uint64()
        limit = try reader.uint32()
    }

    var lane: Lane { .listing }

    func answer(_ call: NFSCall, into reply: inout XDRWriter) {
        var listing = DirectoryListing(detail: .names, limit: limit, nameLimit: limit)
        do throws(DatastoreError) {
            let page = try call.datastore.readDirectory(
                directory, cookie: cookie, verifier: verifier, detail: .names, as: call.credentials
            ) { listing.append($0) }
            listing.write(page, into: &reply)
        } catch {
            reply.write(error, attributes: call.attributesIfAvailable(directory))
        }
    }
}
