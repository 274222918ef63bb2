import Glibc

/// A pipe that a program writes to and we read without blocking.
final class Pipe {
    let writeEnd: Int32
    private let readEnd: Int32
    private var isWriteEndOpen = true
    private(set) var isOpen = true
    private var bytes: [UInt8] = []

    init() throws(TestBedError) {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw TestBedError.lastSystemError("pipe") }
        for end in ends {
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
        }
        readEnd = ends[0]
        writeEnd = ends[1]
        _ = fcntl(readEnd, F_SETFL, O_NONBLOCK)
    }

    deinit {
        closeWriteEnd()
        close(readEnd)
    }

    /// Everything read so far.
    var text: String { String(decoding: bytes, as: UTF8.self) }

    func closeWriteEnd() {
        guard isWriteEndOpen else { return }
        isWriteEndOpen = false
        close(writeEnd)
    }

    /// Reads what is there; notices the end.
    @discardableResult
    func drain() -> [UInt8] {
        var new: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65536)
        while isOpen {
            let count = read(readEnd, &buffer, buffer.count)
            if count > 0 {
                new += buffer[..<count]
            } else if count == 0 || (errno != EAGAIN && errno != EINTR) {
                isOpen = false
            } else if errno == EAGAIN {
                break
            }
        }
        bytes += new
        return new
    }

    /// Waits until one of the open pipes has something to read or ends; whether one has.
    @discardableResult
    static func wait(for pipes: [Pipe], milliseconds: Int32) -> Bool {
        var descriptors = pipes.filter(\.isOpen).map { pollfd(fd: $0.readEnd, events: Int16(POLLIN), revents: 0) }
        return poll(&descriptors, nfds_t(descriptors.count), milliseconds) > 0
    }
}
