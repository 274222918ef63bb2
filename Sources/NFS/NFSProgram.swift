public import BlockStorage
public import Datastore
public import NIOCore
public import SunRPC

/// NFS version 3 (RFC 1813), program 100003: decodes a call, asks the datastore, encodes what it says.
///
/// A READ or GETATTR that the datastore can answer without blocking is answered on the connection's event loop.
/// Everything else runs on I/O pools, which share their threads out between clients, and is answered as it
/// finishes.
public struct NFSProgram: RPCProgram {
    /// The most bytes that one READ or WRITE carries: 1 MiB.
    public static let maximumTransfer = 1 << 20

    /// The program number that RFC 1813 gives.
    public let number: UInt32 = 100_003
    /// What the program is called in rpcbind's lists.
    public let name = "nfs"
    /// Version 3 and no other.
    public let versions: ClosedRange<UInt32> = 3...3

    private let datastore: Datastore
    private let bulkPool: IOPool
    private let metadataPool: IOPool
    private let listingPool: IOPool
    private let identities: Identities
    private let heartbeats = FewOfAFile(most: 4, mostOfClient: 2)
    private let attributeChanges = FewOfAFile(most: 3, mostOfClient: 2)

    /// The program in front of `datastore`. `bulkPool` reads and writes data; `metadataPool` does what has to be quick,
    /// and must not be the same; `listingPool` reads directories, by default it is the second.
    public init(datastore: Datastore, bulkPool: IOPool, metadataPool: IOPool, listingPool: IOPool? = nil) {
        self.init(
            datastore: datastore, bulkPool: bulkPool, metadataPool: metadataPool, listingPool: listingPool,
            identities: Identities())
    }

    init(
        datastore: Datastore, bulkPool: IOPool, metadataPool: IOPool, listingPool: IOPool? = nil, identities: Identities
    ) {
        self.datastore = datastore
        self.bulkPool = bulkPool
        self.metadataPool = metadataPool
        self.listingPool = listingPool ?? metadataPool
        self.identities = identities
    }

    /// What the results of a READ, READDIR or READDIRPLUS may take, whatever they ask for; the others' are short.
    public func mostReplyBytes(procedure: UInt32, arguments: ByteBuffer) -> Int {
        switch procedure {
        case 6: Read.mostReplyBytes(arguments)
        case 5: 4 << 10
        // The entries are put together in a buffer of their own.
        case 16, 17: 2 * DirectoryListing.maximumByteCount
        default: 400
        }
    }

    /// Lets the threads go that the calls have work for.
    public func endBatch() { bulkPool.endBatch() }

    /// Answers `call` at once or from a thread of the pools.
    public func handle(_ call: RPCCall, _ responder: RPCResponder) {
        switch call.procedure {
        case 0: responder.send(responder.makeReply(capacity: 0))
        case 1: runAtOnce(GetAttr.self, call, responder)
        case 2: run(SetAttr.self, call, responder)
        case 3: run(Lookup.self, call, responder)
        case 4: run(Access.self, call, responder)
        case 5: run(ReadLink.self, call, responder)
        case 6: runAtOnce(Read.self, call, responder)
        case 7: run(Write.self, call, responder)
        case 8: run(Create.self, call, responder)
        case 9: run(MkDir.self, call, responder)
        case 10: run(SymLink.self, call, responder)
        case 11: run(MkNod.self, call, responder)
        case 12: run(Remove.self, call, responder)
        case 13: run(RmDir.self, call, responder)
        case 14: run(Rename.self, call, responder)
        case 15: run(Link.self, call, responder)
        case 16: run(ReadDir.self, call, responder)
        case 17: run(ReadDirPlus.self, call, responder)
        case 18: run(FSStat.self, call, responder)
        case 19: run(FSInfo.self, call, responder)
        case 20: run(PathConf.self, call, responder)
        case 21: run(Commit.self, call, responder)
        default: responder.fail(.procedureUnavailable)
        }
    }

    private func run<Procedure: NFSProcedure>(_: Procedure.Type, _ call: RPCCall, _ responder: RPCResponder) {
        guard let procedure: Procedure = decode(call, responder) else { return }
        submit(procedure, call, responder)
    }

    /// As ``run(_:_:_:)``, after an attempt to answer without leaving the event loop.
    private func runAtOnce<Procedure: QuickProcedure>(_: Procedure.Type, _ call: RPCCall, _ responder: RPCResponder) {
        guard let procedure: Procedure = decode(call, responder) else { return }
        guard let credentials = identities.credentialsIfKnown(call.credential) else {
            return submit(procedure, call, responder)
        }
        var reply = responder.makeReply(capacity: procedure.replyCapacity)
        let context = NFSCall(rpc: call, datastore: datastore, credentials: credentials)
        if procedure.answerWithoutWaiting(context, into: &reply) {
            responder.send(reply)
        } else {
            submit(procedure, context, responder)
        }
    }

    private func decode<Procedure: NFSProcedure>(_ call: RPCCall, _ responder: RPCResponder) -> Procedure? {
        var reader = XDRReader(call.arguments.readableBytesSpan)
        do throws(XDRError) {
            return try Procedure(from: &reader)
        } catch {
            responder.fail(.garbageArguments)
            return nil
        }
    }

    /// Has `procedure` answered once it is known for whom.
    private func submit<Procedure: NFSProcedure>(
        _ procedure: Procedure, _ call: RPCCall, _ responder: RPCResponder
    ) {
        guard let credentials = identities.credentialsIfKnown(call.credential) else {
            return identities.find(call.credential, of: call.origin) { credentials in
                let context = NFSCall(rpc: call, datastore: datastore, credentials: credentials)
                submit(procedure, context, responder)
                endBatch()
            }
        }
        submit(procedure, NFSCall(rpc: call, datastore: datastore, credentials: credentials), responder)
    }

    private func submit<Procedure: NFSProcedure>(
        _ procedure: Procedure, _ call: NFSCall, _ responder: RPCResponder
    ) {
        switch procedure.lane {
        case .bulk:
            bulkPool.submitInBatch(of: call.rpc.origin) { send(reply(to: procedure, call, responder), responder) }
        case .metadata:
            metadataPool.submit(of: call.rpc.origin) { send(reply(to: procedure, call, responder), responder) }
        case .listing:
            listingPool.submit(of: call.rpc.origin) { send(reply(to: procedure, call, responder), responder) }
        case .heartbeat(let file): submit(procedure, to: file, heartbeats, call, responder)
        case .attributes(let file): submit(procedure, to: file, attributeChanges, call, responder)
        }
    }

    /// Has `procedure` run among names and attributes as long as it is one of the `few`, and with bulk data if not.
    private func submit<Procedure: NFSProcedure>(
        _ procedure: Procedure, to file: FileHandle, _ few: FewOfAFile, _ call: NFSCall, _ responder: RPCResponder
    ) {
        guard few.begin(file, by: call.rpc.sender.client) else {
            return bulkPool.submit(of: call.rpc.origin) { send(reply(to: procedure, call, responder), responder) }
        }
        metadataPool.submit(of: call.rpc.origin) {
            let reply = reply(to: procedure, call, responder)
            few.end(file)
            send(reply, responder)
        }
    }

    /// Sends results, which begin with their status, unless that is none.
    private func send(_ reply: consuming XDRWriter, _ responder: RPCResponder) {
        let place = reply.buffer.readerIndex + RPCResponder.resultOffset
        guard reply.buffer.getInteger(at: place, as: UInt32.self) != NFSStatus.noAnswer.rawValue else {
            return responder.closeConnection(because: "the store of what is served is cut off")
        }
        responder.send(reply)
    }

    private func reply<Procedure: NFSProcedure>(
        to procedure: Procedure, _ call: NFSCall, _ responder: RPCResponder
    ) -> XDRWriter {
        var reply = responder.makeReply(capacity: procedure.replyCapacity)
        procedure.answer(call, into: &reply)
        return reply
    }
}

extension RPCCall {
    /// Whose the call is, for the pools.
    var origin: WorkOrigin { WorkOrigin(client: sender.client, connection: sender.connection) }
}
