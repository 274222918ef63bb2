import Datastore
import SunRPC

/// CREATE: a regular file (RFC 1813 section 3.3.8).
struct Create: NFSProcedure {
    private let place: DirectoryOperand
    private let mode: CreateMode

    /// `createmode3`.
    private enum How: UInt32 {
        case unchecked = 0
        case guarded = 1
        case exclusive = 2
    }

    init(from reader: inout XDRReader) throws(XDRError) {
        place = try reader.directoryOperand()
        mode =
            switch try reader.enumeration(How.self) {
            case .unchecked: .unchecked(try reader.attributeChanges())
            case .guarded: .guarded(try reader.attributeChanges())
            case .exclusive: .exclusive(verifier: try reader.uint64())
            }
    }

    /// A size cuts a file that was there, and waits for its WRITEs.
    var lane: Lane {
        if case .unchecked(let changes) = mode, changes.size != nil { .bulk } else { .metadata }
    }

    func answer(_ call: NFSCall, into reply: inout XDRWriter) {
        do throws(MutationFailure) {
            reply.write(try call.datastore.create(place.directory, place.name, mode, as: call.credentials))
        } catch {
            reply.write(error)
        }
    }
}
