import CLinux
import Glibc
import Tiering

/// How images are named in the redirect log: by the handle of their file in one export, always the same, of all that
/// show its file system. So a file that is reached through two exports, by two names, has its blocks in one place.
struct ImageIdentities: Sendable {
    private let handles: HandleCodec
    /// For each export the one that stands for all of its file system.
    private let scopes: [UInt64: UInt64]
    /// The files, without their exports, whose blocks are known by an export that does not stand for their file system.
    private let exceptions: [FileHandle: ImageIdentity]
    /// The files, without their exports, whose blocks are known by an export that is not served, or by two.
    private let stranded: Set<FileHandle>

    /// - Parameter known: the images that the log may have blocks of: their exports stand for others.
    init(_ handles: HandleCodec, roots: [ExportRoot], known: some Sequence<ImageIdentity>) {
        self.handles = handles
        let contents = known.compactMap { FileHandle($0.bytes) }.compactMap { try? handles.open($0) }
        let used = Set(contents.map(\.exportID))
        var scopes: [UInt64: UInt64] = [:]
        for group in Dictionary(grouping: roots, by: \.device).values {
            let ids = group.map(\.export.id).sorted()
            for id in ids { scopes[id] = ids.first(where: used.contains) ?? ids[0] }
        }
        self.scopes = scopes
        let served = Dictionary(grouping: contents.filter { scopes[$0.exportID] != nil }) { Self.file(of: $0, handles) }
        exceptions = served.compactMapValues { names in
            guard names[0].exportID != scopes[names[0].exportID] else { return nil }
            return ImageIdentity(handles.seal(names[0]))
        }
        stranded = Set(contents.filter { scopes[$0.exportID] == nil }.map { Self.file(of: $0, handles) })
            .union(served.filter { Set($0.value.map(\.exportID)).count > 1 }.keys)
    }

    /// The identity of an open file.
    func identity(of file: OwnedDescriptor) -> ImageIdentity? {
        (try? handles.handle(of: file)).flatMap(identity)
    }

    /// The identity of the file that a client's handle names; nil when it is none of ours.
    func identity(of handle: FileHandle) -> ImageIdentity? {
        guard let content = try? handles.open(handle), let scope = scopes[content.exportID] else { return nil }
        if !exceptions.isEmpty, let known = exceptions[Self.file(of: content, handles)] { return known }
        let name =
            scope == content.exportID
            ? handle : handles.seal(HandleCodec.Content(exportID: scope, identity: content.identity))
        return ImageIdentity(name.withUnsafeBytes { Array($0) })
    }

    /// Whether the file's newest blocks may be known by an export that is not served.
    func isStranded(_ image: ImageIdentity) -> Bool {
        guard !stranded.isEmpty, let content = FileHandle(image.bytes).flatMap({ try? handles.open($0) }) else {
            return false
        }
        return stranded.contains(Self.file(of: content, handles))
    }

    /// Whether both are the same file, perhaps by different exports.
    func isSameFile(_ first: ImageIdentity, _ second: ImageIdentity) -> Bool {
        let contents = [first, second].map { FileHandle($0.bytes).flatMap { try? handles.open($0) } }
        guard let first = contents[0], let second = contents[1] else { return false }
        return Self.file(of: first, handles) == Self.file(of: second, handles)
    }

    private static func file(of content: HandleCodec.Content, _ handles: HandleCodec) -> FileHandle {
        handles.seal(HandleCodec.Content(exportID: 0, identity: content.identity))
    }
}

extension ExportRoot {
    /// What tells the file system of the export from another that may be mounted in its place: its own identifier and
    /// the handle of the export's directory. Empty when there is none.
    var fileSystemMark: String {
        var status = statvfs()
        guard fstatvfs(descriptor, &status) == 0, let handle = KernelHandle(of: descriptor) else { return "" }
        let bytes = (0..<handle.count).map { String(handle.bytes[$0], radix: 16) }
        return ([String(status.f_fsid, radix: 16), String(handle.type)] + bytes).joined(separator: "-")
    }
}
