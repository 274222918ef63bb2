import Foundation
import NIOCore

/// One connection of an administrator: takes one line, answers it, and closes.
final class ControlHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer
    /// Answers a line, on any thread and at any time.
    typealias Answer = @Sendable (_ reply: Data) -> Void

    /// The time that a client has for its line.
    private static let timeLimit = TimeAmount.seconds(3)

    private let perform: (_ line: Data, _ answer: @escaping Answer) -> Void
    private var line: [UInt8] = []
    private var isTaken = false
    private var timeout: Scheduled<Void>?

    init(perform: @escaping (_ line: Data, _ answer: @escaping Answer) -> Void) {
        self.perform = perform
    }

    func channelActive(context: ChannelHandlerContext) {
        let channel = context.channel
        timeout = context.eventLoop.scheduleTask(in: Self.timeLimit) { channel.close(promise: nil) }
    }

    func channelInactive(context: ChannelHandlerContext) {
        timeout?.cancel()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isTaken else { return }
        let bytes = unwrapInboundIn(data).readableBytesView
        let end = bytes.firstIndex(of: UInt8(ascii: "\n"))
        line += bytes[..<(end ?? bytes.endIndex)]
        guard line.count <= ControlRequest.longestLine else {
            isTaken = true
            let reply = ControlReply(.badRequest, "longer than \(ControlRequest.longestLine) bytes")
            return Self.send((try? JSONEncoder().encode(reply)) ?? Data(), to: context.channel)
        }
        if end != nil { take(context) }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        // Who has said all, and nothing that ends in a line's end, may have left that out.
        if event as? ChannelEvent == .inputClosed, !isTaken { take(context) }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    private func take(_ context: ChannelHandlerContext) {
        isTaken = true
        timeout?.cancel()
        let channel = context.channel
        perform(Data(line)) { Self.send($0, to: channel) }
    }

    private static func send(_ reply: Data, to channel: any Channel) {
        var buffer = channel.allocator.buffer(capacity: reply.count + 1)
        buffer.writeBytes(reply)
        buffer.writeInteger(UInt8(ascii: "\n"))
        channel.writeAndFlush(buffer).whenComplete { _ in channel.close(promise: nil) }
    }
}
