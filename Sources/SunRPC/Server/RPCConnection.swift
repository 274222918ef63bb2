import BlockStorage
import Logging
import NIOCore
import Synchronization

/// One client's connection: turns received bytes into calls, and answers into sent bytes.
///
/// Reading is explicit (`autoRead` is off): the next read is asked for once every call received so far has been handed
/// out and the limits allow more. A connection that is at a limit is *paused*: it leaves calls in its buffer and in the
/// socket, until an answer goes out, the client reads what it was sent, or the memory budget has something for it.
///
/// What a call and its longest reply take is counted before the call is carried out, what a reply takes until the socket
/// has it.
///
/// `@unchecked Sendable`: everything mutable belongs to the event loop, but for `outbox`, which has its lock, and
/// `idleTime`.
final class RPCConnection: ChannelInboundHandler, @unchecked Sendable {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private enum State {
        /// Calls are read and answered.
        case open
        /// No more calls are read; the connection closes when those in flight are answered.
        case draining
        /// No more calls are read or answered.
        case closed
    }

    let eventLoop: any EventLoop
    private let programs: ProgramTable
    private let limits: RPCLimits
    private let registry: ConnectionRegistry
    private let budget: MemoryBudget
    private let buffers: ReceiveBuffers
    private let logger: Logger

    private var state = State.open
    private var context: ChannelHandlerContext?
    private var remoteAddress: SocketAddress?
    private var sender = RPCSender(client: 0, connection: 0)
    private var assembler: RecordAssembler
    private var credentials = CredentialMemo()

    private var callsInFlight = 0
    private var memory = ConnectionMemory()
    /// What of it is for the record that is being received.
    private var recordMemory = 0
    /// A call that waits for memory.
    private var stalled: ByteBuffer?
    private var isWritable = true
    /// The rest is put off, so that other connections of the event loop have their turn.
    private var isYielding = false
    /// Calls are being handed out, or replies flushed, further up this stack.
    private var isBusy = false
    /// Replies were written since the last flush.
    private var needsFlush = false
    /// A read was asked for, and its end was not seen yet.
    private var isReading = false
    /// The client will send nothing more.
    private var isInputClosed = false

    /// Bytes of replies that were written since the last one whose end is watched.
    private var unwatched = 0
    /// Replies whose end is watched, and has not come.
    private var watched = 0
    /// When one of them was sent, or the first of them written.
    private var lastSent = NIODeadline.now()
    // Timers hold on to the connection, and are cancelled when it closes: of an object that something refers to weakly each
    // count goes a slow way.
    private var sendTimer: Scheduled<Void>?
    private var idleTimer: Scheduled<Void>?
    /// Since when there has been no call, in nanoseconds of the event loop's clock.
    private let idleTime = Atomic<UInt64>(NIODeadline.now().uptimeNanoseconds)

    /// When the record that is being received has to be complete.
    private var recordDeadline: NIODeadline?
    private var recordTimer: Scheduled<Void>?

    /// Answers of other threads that wait for the event loop.
    private let outbox = Locked<[Answer]>([])

    private struct Answer {
        let reply: ByteBuffer
        /// What was set aside for the call.
        let bytes: Int
    }

    /// The value of ``idleSince`` while calls are in flight.
    static let neverIdle = UInt64.max
    /// Room for a record without asking: for what is received in pieces, and no WRITE.
    private static let recordRoom = 4 << 10
    /// The end of a reply is watched for when so many bytes were written: fewer are not worth it.
    private static let watchDistance = 128 << 10
    /// What a reply takes besides its bytes: its buffer's objects, and its place among those that wait for the socket. Of
    /// a short one that is most.
    private static let replyOverhead = 192
    /// Most bytes that are received without having been asked for: NIO reads all that there is when a client ends its side.
    private static let mostUnread = 128 << 10
    /// How often in a row calls are handed out to the limits before others have their turn.
    private static let mostRounds = 4
    private static let yieldTime = TimeAmount.microseconds(100)

    init(
        eventLoop: any EventLoop, programs: ProgramTable, limits: RPCLimits, registry: ConnectionRegistry,
        budget: MemoryBudget, buffers: ReceiveBuffers = ReceiveBuffers(), logger: Logger
    ) {
        self.eventLoop = eventLoop
        self.programs = programs
        self.limits = limits
        self.registry = registry
        self.budget = budget
        self.buffers = buffers
        self.logger = logger
        assembler = RecordAssembler(
            maximumLength: limits.maximumRecordLength, maximumFragments: limits.maximumFragments,
            room: Self.recordRoom)
    }

    /// Since when the connection has had no call in flight, or ``neverIdle``. From any thread.
    var idleSince: UInt64 { idleTime.load(ordering: .relaxed) }
}

// MARK: - Life of the connection

extension RPCConnection {
    func channelActive(context: ChannelHandlerContext) {
        remoteAddress = context.remoteAddress
        do throws(ConnectionRegistry.Refusal) {
            sender = try registry.admit(self, on: context.channel)
        } catch {
            state = .closed
            log(.warning, "connection refused: \(error.reason)")
            context.close(promise: nil)
            return
        }
        self.context = context
        log(.debug, "connection accepted")
        scheduleIdleTimer(in: limits.idleTimeout)
        proceed()
    }

    func channelInactive(context: ChannelHandlerContext) {
        // One that was refused never was a connection: it has said so, and is in no registry.
        guard self.context != nil else { return }
        state = .closed
        self.context = nil
        for timer in [recordTimer, sendTimer, idleTimer] { timer?.cancel() }
        registry.remove(sender, of: remoteAddress)
        if memory.isWaiting, budget.stopWaiting(self, of: sender.client) { memory.stopWaiting() }
        stalled = nil
        release(recordMemory)
        recordMemory = 0
        log(.debug, "connection closed, \(callsInFlight) calls in flight")
        leaveIfDone()
    }

    /// Gives the numbers of a closed connection back when no call of it is left and nothing is to be counted any more.
    private func leaveIfDone() {
        guard state == .closed, context == nil, callsInFlight == 0, memory.inUse == 0, !memory.isWaiting else { return }
        guard sender.client > 0 else { return }
        registry.release(sender, of: remoteAddress)
        sender = RPCSender(client: 0, connection: 0)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        log(.info, "connection failed: \(error)")
        context.close(promise: nil)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        // A client that says it will send nothing more still gets the answers it waits for.
        if let event = event as? ChannelEvent, event == .inputClosed {
            isInputClosed = true
            proceed()
        }
        context.fireUserInboundEventTriggered(event)
    }

    /// Stops reading, and closes once every call in flight is answered and sent. On the event loop.
    func drain() {
        guard state == .open else { return }
        state = .draining
        recordTimer?.cancel()
        closeIfDrained()
    }

    /// Closes for the sake of another connection: at once, whatever its client has not read, for it counts no more and
    /// would stay for as long as the client likes. On the event loop.
    func makeRoom() {
        guard let context else { return }
        let kind = callsInFlight == 0 ? "idle connection" : "connection with \(callsInFlight) calls in flight"
        log(.info, "\(kind) closed: others need its place")
        state = .closed
        context.close(promise: nil)
    }

    private func scheduleIdleTimer(in time: TimeAmount) {
        idleTimer = eventLoop.scheduleTask(in: time) { [self] in
            guard state == .open else { return }
            // No call in flight, and none that waits or is being received.
            let isIdle = callsInFlight == 0 && stalled == nil && !assembler.isMidRecord
            let idle = isIdle ? NIODeadline.now() - NIODeadline.uptimeNanoseconds(idleSince) : .nanoseconds(0)
            guard idle >= limits.idleTimeout else { return scheduleIdleTimer(in: limits.idleTimeout - idle) }
            log(.debug, "connection closed: no call for \(limits.idleTimeout)")
            drain()
        }
    }

    /// Closes at once, whatever is in flight. On the event loop.
    func closeNow() {
        guard let context else { return }
        log(.warning, "connection closed by force, \(callsInFlight) calls in flight")
        state = .closed
        context.close(promise: nil)
    }

    private func closeIfDrained() {
        guard state == .draining, callsInFlight == 0, let context else { return }
        state = .closed
        sendTimer?.cancel()
        sendTimer = eventLoop.scheduleTask(in: limits.sendTimeout) { self.context?.close(promise: nil) }
        // The empty write completes after everything written before it.
        context.writeAndFlush(wrapOutboundOut(ByteBuffer())).whenComplete { _ in
            self.context?.close(promise: nil)
        }
    }

    private func failStream(_ reason: String) {
        log(.warning, "connection closed: \(reason)")
        state = .closed
        if needsFlush { flush() }
        context?.close(promise: nil)
    }

    private func log(_ level: Logger.Level, _ message: @autoclosure () -> Logger.Message) {
        logger.log(
            level: level, message(), metadata: ["client": "\(remoteAddress.map { "\($0)" } ?? "unknown")"])
    }
}

// MARK: - Calls in

extension RPCConnection {
    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard state == .open else { return }
        assembler.append(unwrapInboundIn(data))
        isBusy = true
        dispatchCalls()
        isBusy = false
        guard state == .open, assembler.unreadBytes > Self.mostUnread else { return }
        failStream("the client ended its side, and had sent more than \(Self.mostUnread) bytes that were not read yet")
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        isReading = false
        proceed()
    }

    private var isBelowLimits: Bool {
        isWritable && !isYielding && !memory.isWaiting && callsInFlight < limits.maximumCallsInFlight
            && memory.inUse - recordMemory < limits.maximumBytesInFlight
    }

    /// Does whatever can be done now: hands out calls, flushes what was answered at once, asks for more bytes.
    private func proceed() {
        guard !isBusy else { return }
        isBusy = true
        var isExhausted: Bool
        var rounds = 0
        repeat {
            isExhausted = dispatchCalls()
            if needsFlush { flush() }
            rounds += 1
            if rounds == Self.mostRounds, !isExhausted { yield() }
        } while state == .open && !isExhausted && isBelowLimits
        isBusy = false

        guard isExhausted, isBelowLimits else {
            // Paused: while we do not read, the client is not late.
            recordDeadline = nil
            return
        }
        if isInputClosed {
            drain()
        } else if !isReading, let context {
            superviseRecord()
            buffers.expect(assembler.missingBytes)
            isReading = true
            context.read()
        }
    }

    private func yield() {
        isYielding = true
        eventLoop.scheduleTask(in: Self.yieldTime) {
            self.isYielding = false
            self.proceed()
        }
    }

    /// Hands out the calls that were received, up to the limits; whether none is left.
    @discardableResult
    private func dispatchCalls() -> Bool {
        let before = callsInFlight
        // What was answered at once has handed nothing to a pool, and waits for none's lock.
        defer { if callsInFlight > before { programs.endBatch() } }
        while state == .open {
            guard isBelowLimits else { return false }
            if let record = stalled.take() {
                dispatch(record)
                continue
            }
            do throws(RecordError) {
                if let record = try assembler.next() {
                    dispatch(record)
                } else if let room = assembler.wantedRoom {
                    makeRoom(forRecordOf: room)
                } else {
                    return true
                }
            } catch {
                failStream("\(error)")
            }
        }
        return false
    }

    /// Takes the memory for a record that is being received, and for a short reply to it; or waits for it.
    private func makeRoom(forRecordOf length: Int) {
        let bytes = ConnectionMemory.bytes(ofCall: length) + ConnectionMemory.bytes(ofBuffer: Self.recordRoom)
        guard take(bytes - recordMemory) else { return }
        recordMemory = bytes
        assembler.room = length
    }

    private func dispatch(_ record: ByteBuffer) {
        recordDeadline = nil
        assembler.room = Self.recordRoom
        let decoded: DecodedCall
        do throws(RPCHeaderError) {
            decoded = try decodeCall(record.readableBytesSpan, memo: &credentials)
        } catch {
            return failStream("\(error)")
        }
        switch decoded {
        case .denied(let xid, let failure):
            refuse(record, xid, failure)
        case .call(let header):
            dispatch(header, record)
        }
    }

    /// Answers a call that goes to no program. It takes memory as any other: its client may leave the replies unread.
    private func refuse(_ record: ByteBuffer, _ xid: UInt32, _ failure: RPCFailure) {
        guard let bytes = takeMemory(for: record, replyBytes: RPCReply.mostFailureBytes) else { return }
        log(.debug, "call denied: \(failure)")
        write(RPCReply.failure(xid: xid, failure))
        release(bytes)
    }

    private func dispatch(_ header: RPCCallHeader, _ record: ByteBuffer) {
        let program: any RPCProgram
        do throws(RPCFailure) {
            program = try programs.find(header.program, version: header.version)
        } catch {
            return refuse(record, header.xid, error)
        }
        var arguments = record
        arguments.moveReaderIndex(forwardBy: header.byteCount)
        let reply = program.mostReplyBytes(procedure: header.procedure, arguments: arguments)
        // Calls that ask for much are short. One that holds a long record and waited for room for a long reply, too,
        // could keep others from what they wait for.
        guard record.readableBytes <= Self.recordRoom || reply <= Self.recordRoom - RPCReply.headerLength else {
            return refuse(record, header.xid, .garbageArguments)
        }
        guard let bytes = takeMemory(for: record, replyBytes: RPCReply.headerLength + reply) else { return }
        if callsInFlight == 0 { idleTime.store(Self.neverIdle, ordering: .relaxed) }
        callsInFlight += 1
        program.handle(
            RPCCall(
                xid: header.xid, program: header.program, version: header.version, procedure: header.procedure,
                credential: header.credential, arguments: arguments, remoteAddress: remoteAddress, sender: sender,
                eventLoop: eventLoop),
            RPCResponder(connection: self, xid: header.xid, bytes: UInt32(truncatingIfNeeded: bytes)))
    }

    /// Sees to it that a record that has begun ends in time.
    private func superviseRecord() {
        guard assembler.isMidRecord else {
            recordDeadline = nil
            return
        }
        guard recordDeadline == nil else { return }
        let deadline = eventLoop.now + limits.recordTimeout
        recordDeadline = deadline
        if recordTimer == nil {
            scheduleRecordTimer(at: deadline)
        }
    }

    /// One timer serves many records: when it fires early for the current one, it is set again.
    private func scheduleRecordTimer(at deadline: NIODeadline) {
        recordTimer = eventLoop.scheduleTask(deadline: deadline) { [self] in
            recordTimer = nil
            guard state == .open, let deadline = recordDeadline else { return }
            if deadline > eventLoop.now {
                scheduleRecordTimer(at: deadline)
            } else {
                failStream("half an RPC record, and not the rest of it within \(limits.recordTimeout)")
            }
        }
    }
}

// MARK: - Memory

extension RPCConnection {
    private func take(_ bytes: Int) -> Bool {
        memory.take(bytes) { budget.take($0, of: sender.client, for: self) }
    }

    /// Takes what a call and a reply of `replyBytes` need, if that was not done when the call was received; returns how
    /// much it is, or nil when the call has to wait for it.
    private func takeMemory(for record: ByteBuffer, replyBytes: Int) -> Int? {
        let bytes = ConnectionMemory.bytes(ofCall: record) + ConnectionMemory.bytes(ofBuffer: replyBytes)
        if recordMemory > 0 {
            memory.add(bytes - recordMemory)
            recordMemory = 0
        } else if !take(bytes) {
            stalled = record
            return nil
        }
        return bytes
    }

    private func release(_ bytes: Int) {
        let spare = memory.release(bytes)
        if spare > 0 { budget.give(spare, of: sender.client) }
    }

    /// Takes what the budget has handed over. On the event loop.
    func takeRoom(_ bytes: Int) {
        memory.handOver(bytes)
        if context == nil { release(0) }
        proceed()
        leaveIfDone()
    }
}

// MARK: - Answers out

extension RPCConnection {
    /// Sends the answer to one call, for which `bytes` were set aside. From any thread.
    func answer(_ reply: ByteBuffer, bytes: Int) {
        if eventLoop.inEventLoop {
            finish(Answer(reply: reply, bytes: bytes))
            return afterAnswers()
        }
        let isFirst = outbox.withLock { outbox in
            outbox.append(Answer(reply: reply, bytes: bytes))
            return outbox.count == 1
        }
        // Answers that arrive before the loop gets here share this task, and its flush.
        if isFirst {
            eventLoop.execute { self.sendOutbox() }
        }
    }

    /// Closes the connection in place of the answer to one call, for which `bytes` were set aside. From any thread.
    func closeInsteadOfAnswering(because reason: String, bytes: Int) {
        eventLoop.execute {
            self.callsInFlight -= 1
            self.release(bytes)
            if self.state != .closed { self.failStream(reason) }
            self.leaveIfDone()
        }
    }

    private func sendOutbox() {
        let answers = outbox.withLock { outbox in
            let answers = outbox
            outbox.removeAll(keepingCapacity: false)
            return answers
        }
        for answer in answers {
            finish(answer)
        }
        afterAnswers()
    }

    private func finish(_ answer: Answer) {
        callsInFlight -= 1
        if callsInFlight == 0 { idleTime.store(NIODeadline.now().uptimeNanoseconds, ordering: .relaxed) }
        write(answer.reply)
        release(answer.bytes)
    }

    private func afterAnswers() {
        guard !isBusy else { return }
        if needsFlush { flush() }
        proceed()
        closeIfDrained()
        leaveIfDone()
    }

    private func write(_ reply: ByteBuffer) {
        guard let context else { return }
        needsFlush = true
        unwatched += reply.storageCapacity + Self.replyOverhead
        guard unwatched >= Self.watchDistance else { return context.write(wrapOutboundOut(reply), promise: nil) }
        let bytes = unwatched
        unwatched = 0
        memory.add(bytes)
        let end = eventLoop.makePromise(of: Void.self)
        end.futureResult.whenComplete { _ in self.noteSent(bytes) }
        superviseSending()
        context.write(wrapOutboundOut(reply), promise: end)
    }

    /// Lets go of the memory of replies that the socket has taken, or that will never be sent.
    private func noteSent(_ bytes: Int) {
        watched -= 1
        lastSent = .now()
        release(bytes)
        proceed()
        leaveIfDone()
    }

    /// Sees to it that the client reads what it is sent.
    private func superviseSending() {
        if watched == 0 { lastSent = .now() }
        watched += 1
        if sendTimer == nil { scheduleSendTimer(at: lastSent + limits.sendTimeout) }
    }

    /// As with records: one timer serves many replies.
    private func scheduleSendTimer(at deadline: NIODeadline) {
        sendTimer = eventLoop.scheduleTask(deadline: deadline) { [self] in
            sendTimer = nil
            guard state != .closed, watched > 0 else { return }
            let deadline = lastSent + limits.sendTimeout
            guard deadline <= .now() else { return scheduleSendTimer(at: deadline) }
            failStream("the client has read no reply for \(limits.sendTimeout)")
        }
    }

    private func flush() {
        needsFlush = false
        // What becomes free meanwhile is used afterwards, not further down the stack.
        let wasBusy = isBusy
        isBusy = true
        context?.flush()
        isBusy = wasBusy
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        isWritable = context.channel.isWritable
        if isWritable { proceed() }
    }
}
