import Datastore
import SunRPC

/// SYMLINK: a symbolic link (RFC 1813 section 3.3.10).
struct SymLink: NFSProcedure {
    private let place: DirectoryOperand
    private let attributes: AttributeChanges
    private let target: [UInt8]

    init(from reader: inout XDRReader) throws(XDRError) {
        place = try reader.directoryOperand()
        attributes = try reader.attributeChanges()
        target = try reader.opaque(max: reader.remaining).withUnsafeBytes { Array($0) }
    }

    func answer(_ call: NFSCall, into reply: inout XDRWriter) {
        do throws(MutationFailure) {
            reply.write(
                try call.datastore.makeSymbolicLink(
                    place.directory, place.name, target: target, attributes, as: call.credentials))
        } catch {
            reply.write(error)
        }
    }
}
