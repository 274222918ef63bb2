public import Logging
public import NIOCore

/// Has a listener accept nothing for a while when there is no descriptor for a connection.
///
/// Who waits to be accepted keeps the listener readable, so that an event loop that can accept nobody would turn for
/// nothing all the time.
public final class AcceptPause: ChannelInboundHandler {
    /// What a listener hands on.
    public typealias InboundIn = Channel

    private static let pause = TimeAmount.seconds(1)
    private let logger: Logger
    private var isPaused = false

    /// A handler for one listener.
    public init(logger: Logger) {
        self.logger = logger
    }

    /// Pauses when the error is that of an `accept`.
    public func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard error is IOError, !isPaused else { return context.fireErrorCaught(error) }
        isPaused = true
        let channel = context.channel
        logger.warning("no connection is accepted for \(Self.pause): \(error)")
        _ = channel.setOption(.autoRead, value: false)
        context.eventLoop.assumeIsolated().scheduleTask(in: Self.pause) {
            self.isPaused = false
            _ = channel.setOption(.autoRead, value: true)
        }
        context.fireErrorCaught(error)
    }
}
