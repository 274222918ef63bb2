import Logging
import NIOConcurrencyHelpers
import NIOCore

/// One client's connection: turns received bytes into calls, and answers into sent bytes.
///
/// Reading is explicit (`autoRead` is off): the next read is asked for once every call received so far has been handed
/// out and the limits allow more. A connection that is at a limit is *paused*: it leaves calls in its buffer and in the
/// socket, until an answer goes out or the client reads what it was sent.
///
/// `@unchecked Sendable`: everything mutable belongs to the event loop, but for `outbox`, which has its lock.
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
    private let logger: Logger

    private var state = State.open
    private var context: ChannelHandlerContext?
    private var remoteAddress: SocketAddress?
    private var assembler: RecordAssembler
    private var credentials = CredentialMemo()

    private var callsInFlight = 0
    private var bytesInFlight = 0
    private var isWritable = true
    /// Calls are being handed out, or replies flushed, further up this stack.
    private var isBusy = false
    /// Replies were written since the last flush.
    private var needsFlush = false
    /// A read was asked for, and its end was not seen yet.
    private var isReading = false
    /// The client will send nothing more.
    private var isInputClosed = false

    /// When the record that is being received has to be complete.
    private var recordDeadline: NIODeadline?
    private var recordTimer: Scheduled<Void>?

    /// Answers of other threads that wait for the event loop.
    private let outbox = NIOLockedValueBox<[Answer]>([])

    private struct Answer {
        let reply: ByteBuffer
        let callLength: Int
    }

    init(
        eventLoop: any EventLoop, programs: ProgramTable, limits: RPCLimits, registry: ConnectionRegistry,
        logger: Logger
    ) {
        self.eventLoop = eventLoop
        self.programs = programs
        self.limits = limits
        self.registry = registry
        self.logger = logger
        assembler = RecordAssembler(
            maximumLength: limits.maximumRecordLength, maximumFragments: limits.maximumFragments)
    }
}

// MARK: - Life of the connection

extension RPCConnection {
    func channelActive(context: ChannelHandlerContext) {
        remoteAddress = context.remoteAddress
        if let refusal = registry.admit(self, on: context.channel) {
            state = .closed
            log(.warning, "connection refused: \(refusal)")
            context.close(promise: nil)
            return
        }
        self.context = context
        log(.debug, "connection accepted")
        proceed()
    }

    func channelInactive(context: ChannelHandlerContext) {
        // One that was refused never was a connection: it has said so, and is in no registry.
        guard self.context != nil else { return }
        state = .closed
        self.context = nil
        recordTimer?.cancel()
        registry.remove(self)
        log(.debug, "connection closed, \(callsInFlight) calls in flight")
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
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        isReading = false
        proceed()
    }

    private var isBelowLimits: Bool {
        isWritable && callsInFlight < limits.maximumCallsInFlight && bytesInFlight < limits.maximumBytesInFlight
    }

    /// Does whatever can be done now: hands out calls, flushes what was answered at once, asks for more bytes.
    private func proceed() {
        guard !isBusy else { return }
        isBusy = true
        var isExhausted: Bool
        repeat {
            isExhausted = dispatchCalls()
            if needsFlush { flush() }
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
            isReading = true
            context.read()
        }
    }

    /// Hands out the calls that were received, up to the limits; whether none is left.
    @discardableResult
    private func dispatchCalls() -> Bool {
        while state == .open {
            guard isBelowLimits else { return false }
            do throws(RecordError) {
                guard let record = try assembler.next() else { return true }
                dispatch(record)
            } catch {
                failStream("\(error)")
            }
        }
        return false
    }

    private func dispatch(_ record: ByteBuffer) {
        recordDeadline = nil
        let decoded: DecodedCall
        do throws(RPCHeaderError) {
            decoded = try decodeCall(record.readableBytesSpan, memo: &credentials)
        } catch {
            return failStream("\(error)")
        }
        switch decoded {
        case .denied(let xid, let failure):
            log(.debug, "call denied: \(failure)")
            write(RPCReply.failure(xid: xid, failure))
        case .call(let header):
            dispatch(header, record)
        }
    }

    private func dispatch(_ header: RPCCallHeader, _ record: ByteBuffer) {
        let program: any RPCProgram
        do throws(RPCFailure) {
            program = try programs.find(header.program, version: header.version)
        } catch {
            return write(RPCReply.failure(xid: header.xid, error))
        }
        var arguments = record
        arguments.moveReaderIndex(forwardBy: header.byteCount)
        callsInFlight += 1
        bytesInFlight += record.readableBytes
        program.handle(
            RPCCall(
                xid: header.xid, program: header.program, version: header.version, procedure: header.procedure,
                credential: header.credential, arguments: arguments, remoteAddress: remoteAddress,
                eventLoop: eventLoop),
            RPCResponder(
                connection: self, xid: header.xid, callLength: UInt32(truncatingIfNeeded: record.readableBytes)))
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
        recordTimer = eventLoop.scheduleTask(deadline: deadline) { [weak self] in
            guard let self else { return }
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

// MARK: - Answers out

extension RPCConnection {
    /// Sends the answer to one call. From any thread.
    func answer(_ reply: ByteBuffer, callLength: Int) {
        if eventLoop.inEventLoop {
            finish(Answer(reply: reply, callLength: callLength))
            return afterAnswers()
        }
        let isFirst = outbox.withLockedValue { outbox in
            outbox.append(Answer(reply: reply, callLength: callLength))
            return outbox.count == 1
        }
        // Answers that arrive before the loop gets here share this task, and its flush.
        if isFirst {
            eventLoop.execute { self.sendOutbox() }
        }
    }

    private func sendOutbox() {
        let answers = outbox.withLockedValue { outbox in
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
        bytesInFlight -= answer.callLength
        write(answer.reply)
    }

    private func afterAnswers() {
        guard !isBusy else { return }
        if needsFlush { flush() }
        proceed()
        closeIfDrained()
    }

    private func write(_ reply: ByteBuffer) {
        guard let context else { return }
        needsFlush = true
        context.write(wrapOutboundOut(reply), promise: nil)
    }

    private func flush() {
        needsFlush = false
        context?.flush()
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        isWritable = context.channel.isWritable
        if isWritable { proceed() }
    }
}
