/// Something on a disk that is not as its format says, and what was made of it.
public struct VolumeProblem: Error, Hashable, Sendable {
    /// Where on the disk, in bytes.
    public let offset: Int
    /// What was found and what was expected.
    public let message: String

    /// A problem at `offset`.
    public init(offset: Int, message: String) {
        self.offset = offset
        self.message = message
    }
}

extension VolumeProblem: CustomStringConvertible {
    /// One line.
    public var description: String { "offset \(offset): \(message)" }
}
