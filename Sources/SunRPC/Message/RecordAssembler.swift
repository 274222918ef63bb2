public import NIOCore

/// Puts records together from a byte stream (RFC 5531 section 11). Pure: no I/O, any bytes.
///
/// A record of one fragment that was received as a whole is sliced out of the received buffer. Any other is copied once,
/// into a buffer of the length that its mark announced. A mark is checked against the limits before anything is
/// allocated for it, and so is the room that the owner grants.
public struct RecordAssembler: Sendable {
    /// Most bytes in a record, over all its fragments.
    public let maximumLength: Int
    /// Most fragments in a record, those of zero length included.
    public let maximumFragments: Int
    /// Most bytes that a record may take which is put together; the owner grants more when ``wantedRoom`` asks for it.
    public var room: Int

    /// Received and not looked at yet.
    private var input = ByteBuffer()
    /// The record that is being put together.
    private var record = ByteBuffer()
    /// Fragments of it that began.
    private var fragments = 0
    /// What is missing of its current fragment; nil between fragments.
    private var missing: Int?
    /// Whether its current fragment is the last.
    private var isLast = false

    /// An assembler at the start of a stream.
    public init(maximumLength: Int, maximumFragments: Int, room: Int = .max) {
        self.maximumLength = maximumLength
        self.maximumFragments = maximumFragments
        self.room = room
    }

    /// The room without which ``next()`` goes no further; nil when it wants more bytes, or nothing.
    ///
    /// How long a record of several fragments is nobody knows before the last of them: it wants all that it may have, at
    /// once. Who asked again for each would hold room while it waits for more, and so might all.
    public var wantedRoom: Int? {
        guard let missing, record.readableBytes + missing > room else { return nil }
        return isLast ? record.readableBytes + missing : maximumLength
    }

    /// Bytes that were received and not looked at yet.
    public var unreadBytes: Int { input.readableBytes }

    /// Bytes that are known to be missing of the current fragment; meaningful after ``next()`` returned nil.
    public var missingBytes: Int { missing ?? 0 }

    /// Whether a record has begun and is not complete; meaningful after ``next()`` returned nil.
    public var isMidRecord: Bool { fragments > 0 || input.readableBytes > 0 }

    /// Adds bytes that were received.
    public mutating func append(_ bytes: ByteBuffer) {
        if input.readableBytes == 0 {
            input = bytes
        } else {
            input.writeImmutableBuffer(bytes)
        }
    }

    /// The next complete record; nil when more bytes or more room (``wantedRoom``) is needed. After an error the stream is of no further use.
    public mutating func next() throws(RecordError) -> ByteBuffer? {
        while true {
            guard let missing else {
                guard try beginFragment() else { return nil }
                if let whole = takeWholeRecord() { return whole }
                continue
            }
            guard wantedRoom == nil else { return nil }
            record.reserveCapacity(record.readableBytes + missing)
            let count = min(missing, input.readableBytes)
            if let piece = input.readSlice(length: count) {
                record.writeImmutableBuffer(piece)
            }
            guard count == missing else {
                self.missing = missing - count
                releaseInput()
                return nil
            }
            self.missing = nil
            if isLast { return takeAssembledRecord() }
        }
    }

    /// Reads the next mark and makes room for its fragment; false when the mark itself is not there yet.
    private mutating func beginFragment() throws(RecordError) -> Bool {
        guard let mark = input.readInteger(as: UInt32.self) else {
            releaseInput()
            return false
        }
        let length = Int(mark & ~RecordMark.lastFragment)
        guard length <= maximumLength - record.readableBytes else {
            throw .tooLong(length: record.readableBytes + length, maximum: maximumLength)
        }
        guard fragments < maximumFragments else { throw .tooManyFragments(maximum: maximumFragments) }
        fragments += 1
        isLast = mark & RecordMark.lastFragment != 0
        missing = length
        return true
    }

    /// The record, if it is one fragment and all here.
    private mutating func takeWholeRecord() -> ByteBuffer? {
        guard let length = missing else { return nil }
        if isLast, fragments == 1, let slice = input.readSlice(length: length) {
            fragments = 0
            missing = nil
            releaseInput()
            return slice
        }
        return nil
    }

    private mutating func takeAssembledRecord() -> ByteBuffer {
        defer {
            record = ByteBuffer()
            fragments = 0
            releaseInput()
        }
        return record
    }

    /// Lets go of a received buffer that has been used up, so that its owner can fill it again.
    private mutating func releaseInput() {
        if input.readableBytes == 0 {
            input = ByteBuffer()
        } else if input.readableBytes < RecordMark.length {
            input = ByteBuffer(input.readableBytesView)
        }
    }
}

/// A record that is not accepted, whatever follows.
public enum RecordError: Error, Hashable, Sendable {
    /// Its marks announce more bytes than a record may have.
    case tooLong(length: Int, maximum: Int)
    /// It has more fragments than a record may have.
    case tooManyFragments(maximum: Int)
}

extension RecordError: CustomStringConvertible {
    /// One line that says what was found and what was expected.
    public var description: String {
        switch self {
        case .tooLong(let length, let maximum): "RPC record of \(length) bytes or more, at most \(maximum) accepted"
        case .tooManyFragments(let maximum): "RPC record of more than \(maximum) fragments"
        }
    }
}
