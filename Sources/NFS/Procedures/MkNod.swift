import Datastore
import SunRPC

/// MKNOD: a device, a socket or a named pipe (RFC 1813 section 3.3.11).
struct MkNod: NFSProcedure {
    private let place: DirectoryOperand
    private let attributes: AttributeChanges
    /// Nil for a type that other procedures make.
    private let file: SpecialFile?

    init(from reader: inout XDRReader) throws(XDRError) {
        place = try reader.directoryOperand()
        let type = try reader.enumeration(FileType.self)
        switch type {
        case .characterDevice, .blockDevice:
            attributes = try reader.attributeChanges()
            let major = try reader.uint32()
            let minor = try reader.uint32()
            file =
                type == .blockDevice
                ? .blockDevice(major: major, minor: minor) : .characterDevice(major: major, minor: minor)
        case .socket, .fifo:
            attributes = try reader.attributeChanges()
            file = type == .socket ? .socket : .fifo
        case .regular, .directory, .symbolicLink:
            attributes = AttributeChanges()
            file = nil
        }
    }

    func answer(_ call: NFSCall, into reply: inout XDRWriter) {
        do throws(MutationFailure) {
            guard let file else {
                throw MutationFailure(DatastoreError(.badType, "MKNOD makes devices, sockets and pipes"))
            }
            reply.write(
                try call.datastore.makeNode(place.directory, place.name, file, attributes, as: call.credentials))
        } catch {
            reply.write(error)
        }
    }
}
