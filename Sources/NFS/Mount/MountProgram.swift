public import BlockStorage
public import Datastore
public import Logging
public import NIOCore
public import SunRPC

/// MOUNT version 3 (RFC 1813 appendix I), program 100005: hands out the handles that NFS calls begin with.
public struct MountProgram: RPCProgram {
    /// The program number that RFC 1813 gives.
    public let number: UInt32 = 100_005
    /// What the program is called in rpcbind's lists.
    public let name = "mountd"
    /// Version 3 and no other.
    public let versions: ClosedRange<UInt32> = 3...3

    /// The longest path that is looked at, in bytes (`MNTPATHLEN`).
    private static let maximumPathLength = 1024

    let datastore: Datastore
    let table = MountTable()
    let logger: Logger
    private let pool: IOPool

    /// The program in front of `datastore`; paths are looked up on `pool`.
    public init(datastore: Datastore, pool: IOPool, logger: Logger) {
        self.datastore = datastore
        self.pool = pool
        self.logger = logger
    }

    /// DUMP lists what clients have mounted, and EXPORT whatever is exported; the others say little.
    public func mostReplyBytes(procedure: UInt32, arguments: ByteBuffer) -> Int {
        switch procedure {
        case 2: table.mostReplyBytes
        case 5: 64 << 10
        default: 400
        }
    }

    /// Answers `call` at once, or from a thread of the pool when a path has to be looked up.
    public func handle(_ call: RPCCall, _ responder: RPCResponder) {
        switch call.procedure {
        case 0: answerWithNothing(responder)
        case 1: withPath(call, responder) { path in pool.submit(of: call.origin) { mount(path, call, responder) } }
        case 2: dumpMounts(responder)
        case 3:
            withPath(call, responder) { path in
                if let path { unmount(path, call) }
                answerWithNothing(responder)
            }
        case 4:
            unmountAll(call)
            answerWithNothing(responder)
        case 5: listExports(responder)
        default: responder.fail(.procedureUnavailable)
        }
    }

    /// Decodes the one argument there is, a path (`dirpath`), which is nil when it is longer than any that can be.
    private func withPath(_ call: RPCCall, _ responder: RPCResponder, _ body: ([UInt8]?) -> Void) {
        var reader = XDRReader(call.arguments.readableBytesSpan)
        do throws(XDRError) {
            let path = try reader.opaque(max: reader.remaining)
            body(path.byteCount > Self.maximumPathLength ? nil : path.withUnsafeBytes { Array($0) })
        } catch {
            responder.fail(.garbageArguments)
        }
    }

    private func answerWithNothing(_ responder: RPCResponder) {
        responder.send(responder.makeReply(capacity: 0))
    }
}

extension RPCCall {
    /// The client's address without its port, which names the client to people.
    var clientName: String { remoteAddress?.ipAddress ?? "localhost" }
}
