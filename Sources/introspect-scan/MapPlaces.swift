import DiskImages
import Glibc

/// Where the maps of images are saved, each in a file of its own.
struct MapPlaces: Sendable {
    private let directory: String
    /// The directory below which images lie as their maps do; nil when only their names count.
    private let export: String?

    /// Places for the maps of `images`. Refuses all when the maps of two would be one file, before anything is saved.
    init(of images: [String], in directory: String, below export: String?) throws(Refusal) {
        self.directory = directory
        if let export {
            guard let path = Self.realPath(of: export) else { throw Refusal("\(export): \(errorText())") }
            self.export = path == "/" ? "" : path
        } else {
            self.export = nil
        }
        var owners: [String: String] = [:]
        for path in images {
            // What cannot be read is told when its turn comes.
            guard let image = try? OpenImage.identify(path) else { continue }
            let place = try place(of: image)
            if let other = owners[place] {
                let advice = export == nil ? ": --below EXPORT saves maps by the images' paths" : ""
                throw Refusal("\(other) and \(path): both maps would be \(place)\(advice); nothing is saved")
            }
            owners[place] = path
        }
    }

    /// The file for the map of `image`.
    func place(of image: DiskImage) throws(Refusal) -> String {
        guard let export else { return "\(directory)/\(Self.split(image.path).name).map" }
        // The image's own name counts, as introspectd sees it, but not by which links its directory is reached.
        let (folder, name) = Self.split(image.path)
        guard let real = Self.realPath(of: folder.isEmpty ? "." : folder) else {
            throw Refusal("\(image.path): \(errorText())")
        }
        let path = real == "/" ? "/\(name)" : "\(real)/\(name)"
        guard path.utf8.starts(with: "\(export)/".utf8) else {
            throw Refusal("\(image.path): is not below \(export.isEmpty ? "/" : export), which --below names")
        }
        return "\(directory)\(String(decoding: path.utf8.dropFirst(export.utf8.count), as: UTF8.self)).map"
    }

    /// The directory, with the slash at its end, and the name. By bytes: a slash and what follows may be one character.
    private static func split(_ path: String) -> (directory: String, name: String) {
        let bytes = Array(path.utf8)
        let start = (bytes.lastIndex(of: UInt8(ascii: "/")) ?? -1) + 1
        return (String(decoding: bytes[..<start], as: UTF8.self), String(decoding: bytes[start...], as: UTF8.self))
    }

    private static func realPath(of path: String) -> String? {
        guard let found = realpath(path, nil) else { return nil }
        defer { free(found) }
        return String(cString: found)
    }
}

/// What the last system call of this thread said.
private func errorText() -> String { String(cString: strerror(errno)) }
