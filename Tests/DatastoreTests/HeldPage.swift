import Foundation
import Glibc
import Synchronization

/// A page of memory that is not there yet: whoever reads it waits until it is let go, the kernel in the middle of a write,
/// too.
final class HeldPage: Sendable {
    // The numbers of linux/userfaultfd.h.
    private static let newDescriptor: UInt = 0xAA00
    private static let handshake: UInt = 0xC018_AA3F
    private static let register: UInt = 0xC020_AA00
    private static let apiVersion: UInt64 = 0xAA
    private static let missingPages: UInt64 = 1
    private static let size: UInt = 4096
    private static let patience: Int32 = 60_000

    static let isAvailable = access("/dev/userfaultfd", R_OK | W_OK) == 0

    private let descriptor: Atomic<Int32>

    /// Takes the first whole page from `address` on away; when it is let go it has zeros.
    init(after address: UnsafeRawPointer) throws {
        let start = (UInt(bitPattern: address) + Self.size - 1) & ~(Self.size - 1)
        let device = try Self.check(open("/dev/userfaultfd", O_RDWR | O_CLOEXEC))
        defer { close(device) }
        descriptor = try Atomic(Self.check(ioctl(device, Self.newDescriptor, O_CLOEXEC | O_NONBLOCK)))
        let file = descriptor.load(ordering: .relaxed)
        var version = [Self.apiVersion, 0, 0]
        try Self.check(ioctl(file, Self.handshake, &version))
        try Self.check(madvise(UnsafeMutableRawPointer(bitPattern: start), Int(Self.size), MADV_DONTNEED))
        var range = [UInt64(start), UInt64(Self.size), Self.missingPages, 0]
        try Self.check(ioctl(file, Self.register, &range))
    }

    deinit { letGo() }

    /// Returns when somebody waits for the page.
    func waitForReader() throws {
        var request = pollfd(fd: descriptor.load(ordering: .relaxed), events: Int16(POLLIN), revents: 0)
        guard try Self.check(poll(&request, 1, Self.patience)) == 1, request.revents == POLLIN else {
            throw POSIXError(.ETIMEDOUT)
        }
    }

    /// Whoever waits goes on.
    func letGo() {
        let file = descriptor.exchange(-1, ordering: .relaxed)
        if file >= 0 { close(file) }
    }

    @discardableResult private static func check(_ result: Int32) throws -> Int32 {
        guard result >= 0 else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
        return result
    }
}
