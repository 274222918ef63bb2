import NIOCore
import Synchronization

@testable import SunRPC

/// A program with one procedure for each way to answer.
final class EchoProgram: RPCProgram {
    static let number: UInt32 = 0x2000_0001

    /// What the procedures do.
    enum Procedure {
        /// Answers at once with nothing.
        static let null: UInt32 = 0
        /// Answers at once with the arguments.
        static let echo: UInt32 = 1
        /// Keeps the call until ``EchoProgram/takeHeld()``.
        static let hold: UInt32 = 2
        /// Answers at once with as many bytes as the argument says.
        static let blob: UInt32 = 3
        /// Says that the arguments are garbage.
        static let garbage: UInt32 = 4
        /// Says that the system failed.
        static let systemError: UInt32 = 5
        /// Answers from another thread with the arguments.
        static let echoElsewhere: UInt32 = 6
        /// Like `hold`, and says that the reply will have as many bytes as the argument says.
        static let holdBlob: UInt32 = 7
        /// Has the connection closed.
        static let noAnswer: UInt32 = 8
    }

    struct Held: Sendable {
        let call: RPCCall
        let responder: RPCResponder

        /// Answers with the arguments.
        func release() {
            var reply = responder.makeReply(capacity: call.arguments.readableBytes)
            reply.buffer.writeImmutableBuffer(call.arguments)
            responder.send(reply)
        }
    }

    let number: UInt32 = EchoProgram.number
    let name = "echo"
    let versions: ClosedRange<UInt32> = 2...4

    private let held = Mutex<[Held]>([])
    private let handled = Atomic<Int>(0)
    private let batches = Atomic<Int>(0)

    /// The calls that were handed to this program.
    var handledCount: Int { handled.load(ordering: .relaxed) }
    /// How often calls were handed out together of which some were left for later.
    var batchCount: Int { batches.load(ordering: .relaxed) }
    /// The calls that are kept.
    var heldCount: Int { held.withLock { $0.count } }

    /// Hands over the calls that are kept, in the order of their arrival.
    func takeHeld() -> [Held] {
        held.withLock { held in
            defer { held = [] }
            return held
        }
    }

    func endBatch() { batches.add(1, ordering: .relaxed) }

    func mostReplyBytes(procedure: UInt32, arguments: ByteBuffer) -> Int {
        guard [Procedure.blob, Procedure.holdBlob].contains(procedure) else { return 400 }
        return Int(arguments.getInteger(at: arguments.readerIndex, as: UInt32.self) ?? 0)
    }

    func handle(_ call: RPCCall, _ responder: RPCResponder) {
        handled.add(1, ordering: .relaxed)
        switch call.procedure {
        case Procedure.null: responder.send(responder.makeReply(capacity: 0))
        case Procedure.echo: Held(call: call, responder: responder).release()
        case Procedure.hold, Procedure.holdBlob: held.withLock { $0.append(Held(call: call, responder: responder)) }
        case Procedure.blob: blob(call, responder)
        case Procedure.noAnswer: Task.detached { responder.closeConnection(because: "there is no answer") }
        case Procedure.garbage: responder.fail(.garbageArguments)
        case Procedure.systemError: responder.fail(.systemError)
        case Procedure.echoElsewhere:
            let held = Held(call: call, responder: responder)
            Task.detached { held.release() }
        default: responder.fail(.procedureUnavailable)
        }
    }

    private func blob(_ call: RPCCall, _ responder: RPCResponder) {
        var reader = XDRReader(call.arguments.readableBytesSpan)
        guard let count = try? reader.uint32() else { return responder.fail(.garbageArguments) }
        var reply = responder.makeReply(capacity: Int(count))
        reply.buffer.writeRepeatingByte(UInt8(truncatingIfNeeded: call.xid), count: Int(count))
        responder.send(reply)
    }
}
