/// One name in a directory (`filename3`): bytes, in no particular encoding.
///
/// Any bytes make a value, as they come from the network; ``Datastore`` refuses those that are no name.
public struct FileName: Hashable, Sendable {
    /// The longest name that file systems on Linux hold, in bytes.
    public static let maximumCount = 255

    /// The bytes and the zero that ends them.
    private let terminated: [UInt8]

    /// The name of `bytes`.
    public init(bytes: some Collection<UInt8>) {
        var terminated = [UInt8]()
        terminated.reserveCapacity(bytes.count + 1)
        terminated.append(contentsOf: bytes)
        terminated.append(0)
        self.terminated = terminated
    }

    /// The name of `string` in UTF-8.
    public init(_ string: String) {
        self.init(bytes: string.utf8)
    }

    /// The bytes.
    public var bytes: ArraySlice<UInt8> { terminated.dropLast() }

    var isCurrentDirectory: Bool { terminated == [0x2e, 0] }
    var isParentDirectory: Bool { terminated == [0x2e, 0x2e, 0] }

    /// Throws what RFC 1813 section 3.2 asks for when this cannot be a name: nothing, a slash or a zero in it, too
    /// long. `.` and `..` pass, each procedure treats them in its own way.
    func validate() throws(DatastoreError) {
        guard terminated.count > 1 else { throw DatastoreError(.access, "an empty name") }
        guard terminated.count <= Self.maximumCount + 1 else {
            throw DatastoreError(.nameTooLong, "a name of \(terminated.count - 1) bytes")
        }
        guard !bytes.contains(where: { $0 == 0 || $0 == 0x2f }) else {
            throw DatastoreError(.invalidArgument, "a name with a slash or a zero byte")
        }
    }

    func withCString<R, E>(_ body: (UnsafePointer<CChar>) throws(E) -> R) throws(E) -> R {
        var result: Result<R, E>?
        terminated.withUnsafeBytes { bytes in
            guard let start = bytes.baseAddress else { return }
            do throws(E) {
                result = .success(try body(start.assumingMemoryBound(to: CChar.self)))
            } catch {
                result = .failure(error)
            }
        }
        guard let result else { preconditionFailure("a terminated name has bytes") }
        return try result.get()
    }
}

extension FileName: CustomStringConvertible {
    /// The name, with what is not UTF-8 replaced.
    public var description: String { String(decoding: bytes, as: UTF8.self) }
}
