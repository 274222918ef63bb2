import BlockStorage
import Glibc

extension RedirectLog {
    /// A reader that finds the space of its record used again looks up anew, so many times at most.
    private static let mostAttempts = 100

    /// Reads `range` of `image`: what is redirected from the log, and the rest through `readImage`, which is called for
    /// the whole range unless one record has all of it.
    ///
    /// - Throws: also when a record is damaged: its bytes are nowhere else, and older ones are never given instead.
    public func read(
        _ range: ByteRange, of image: ImageIdentity, into buffer: UnsafeMutableRawBufferPointer,
        readImage: () throws(StorageError) -> Void
    ) throws(StorageError) {
        for _ in 0..<Self.mostAttempts {
            let redirects = redirects(of: image, in: range)
            if redirects.first?.range != range { try readImage() }
            var isComplete = true
            for redirect in redirects where isComplete {
                let start = redirect.range.offset - range.offset
                let target = UnsafeMutableRawBufferPointer(
                    rebasing: buffer[start..<start + redirect.range.length])
                isComplete = try read(redirect, of: image, into: target)
            }
            if isComplete { return }
        }
        throw StorageError(.system(EAGAIN), operation: "read redirected bytes", device: ring.name, range: range)
    }

    /// The redirects of `range` of `image`, in order.
    func redirects(of image: ImageIdentity, in range: ByteRange) -> [RedirectIndex.Redirect] {
        monitor.withLock {
            guard let number = state.numbers[image] else { return [] }
            return state.index.redirects(image: number, range)
        }
    }

    /// Reads the bytes of a redirect from its record and verifies them.
    ///
    /// - Returns: false when the redirect is dead by now, and the space of its record was used again.
    func read(
        _ redirect: RedirectIndex.Redirect, of image: ImageIdentity, into buffer: UnsafeMutableRawBufferPointer
    ) throws(StorageError) -> Bool {
        let found = try ring.record(at: redirect.position) { $0.isWrite(of: redirect, of: image) }
        if let found {
            let start = redirect.range.offset - found.record.offset
            found.payload.withUnsafeBytes { payload in
                buffer.copyMemory(
                    from: UnsafeRawBufferPointer(rebasing: payload[start..<start + redirect.range.length]))
            }
            return true
        }
        guard !redirects(of: image, in: redirect.range).contains(redirect) else {
            let offset = geometry.ringStart + redirect.position % geometry.ringSize
            throw StorageError(
                .damaged, operation: "read redirected bytes", device: ring.name,
                range: ByteRange(offset: offset, length: redirect.range.length))
        }
        return false
    }
}
