import Glibc
import Synchronization
import Tiering

/// Which images may have their newest blocks in the redirect log: known without the log, so that they can be refused
/// when it is missing.
///
/// A line for each image, its identity in hexadecimal and the path that it had; an image stands there durably before
/// its first redirect is acknowledged, and all go when a clean stop has emptied the log.
final class RedirectRegister: Sendable {
    static let fileName = "redirected-images"

    private let state: StateDirectory
    private let images: Mutex<[ImageIdentity: String]>

    /// Reads the register of `state`.
    init(in state: StateDirectory) throws(DatastoreError) {
        self.state = state
        var images: [ImageIdentity: String] = [:]
        let bytes = try state.read(name: Self.fileName) ?? []
        for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") {
            let parts = line.split(separator: " ", maxSplits: 1)
            guard let image = parts.first.flatMap({ ImageIdentity(hexadecimal: $0) }) else {
                throw DatastoreError(.serverFault, "\(state.path)/\(Self.fileName): no image's name: \(line)")
            }
            images[image] = parts.count > 1 ? String(parts[1]) : ""
        }
        self.images = Mutex(images)
    }

    /// The file's path.
    var path: String { "\(state.path)/\(Self.fileName)" }

    /// The images and their paths.
    var entries: [ImageIdentity: String] { images.withLock { $0 } }

    /// Enters an image durably, if it is new.
    func enter(_ image: ImageIdentity, path: String) throws(DatastoreError) {
        try change { $0.updateValue(path, forKey: image) == nil }
    }

    /// Forgets all images, durably: the log is empty.
    func clear() throws(DatastoreError) {
        try change { images in
            defer { images.removeAll() }
            return !images.isEmpty
        }
    }

    private func change(_ body: (inout [ImageIdentity: String]) -> Bool) throws(DatastoreError) {
        let result: Result<Void, DatastoreError> = images.withLock { images in
            let before = images
            guard body(&images) else { return .success(()) }
            let lines = images.map { "\($0.key.hexadecimal) \($0.value.filter { $0 != "\n" })\n" }.sorted()
            do throws(DatastoreError) {
                try state.replace(Self.fileName, with: Array(lines.joined().utf8))
                return .success(())
            } catch {
                images = before
                return .failure(error)
            }
        }
        try result.get()
    }
}

extension ImageIdentity {
    fileprivate var hexadecimal: String {
        bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
    }

    fileprivate init?(hexadecimal text: Substring) {
        let digits = text.compactMap(\.hexDigitValue)
        guard digits.count == text.count, digits.count.isMultiple(of: 2) else { return nil }
        self.init(stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) })
    }
}
