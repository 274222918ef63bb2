import Datastore
import SunRPC

/// One procedure of NFSv3: a value holds the arguments of one call.
protocol NFSProcedure: Sendable {
    /// Where the call waits for its turn.
    var lane: Lane { get }
    /// Room for the results, in bytes, that spares a longer reply from being moved as it grows.
    var replyCapacity: Int { get }

    /// Decodes the arguments.
    init(from reader: inout XDRReader) throws(XDRError)

    /// Carries the call out and appends its results, status first. May block.
    func answer(_ call: NFSCall, into reply: inout XDRWriter)
}

/// A procedure that can often be answered without blocking.
protocol QuickProcedure: NFSProcedure {
    /// Appends the results if they can be had without blocking. Otherwise leaves `reply` in disorder, returns false, and
    /// wants to be asked again by ``answer(_:into:)`` where blocking is allowed.
    func answerWithoutWaiting(_ call: NFSCall, into reply: inout XDRWriter) -> Bool
}

extension NFSProcedure {
    var lane: Lane { .metadata }
    var replyCapacity: Int { 320 }
}

/// What of a call is not in its arguments, and whom to ask.
struct NFSCall: Sendable {
    let rpc: RPCCall
    let datastore: Datastore
    let credentials: Credentials

    /// The object's attributes for the body of a failure, where they are welcome and not owed.
    func attributesIfAvailable(_ handle: FileHandle) -> FileAttributes? {
        try? datastore.getAttributes(handle, as: credentials)
    }

    /// `failure` with the file's attributes, if they were not known where it failed.
    func completed(_ failure: MutationFailure, _ file: FileHandle) -> MutationFailure {
        var failure = failure
        if failure.wcc.after == nil {
            failure.wcc.after = attributesIfAvailable(file)
        }
        return failure
    }
}
