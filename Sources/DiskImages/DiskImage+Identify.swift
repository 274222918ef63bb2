import BlockStorage

extension DiskImage {
    /// The disk that the file at `path` is, taken as it is, whatever it holds.
    public static func raw(path: String, in files: HostFiles = .system) throws(ImageError) -> DiskImage {
        let file = try ImageFile(path: path, in: files, mayBeDevice: files.haveDevices)
        return try oneFile(format: .raw, path: path, size: file.size, in: files)
    }

    /// The image that the file at `path` is part of, going by name and content.
    ///
    /// A flat extent (`NAME-flat.vmdk`) is a disk of its own. One of several (`NAME-f001.vmdk`) gives the whole disk
    /// when the descriptor beside it (`NAME.vmdk`) lists it. Returns nil when neither name nor content says that the
    /// file is an image: then only the user knows whether it is a raw disk. Throws an ``ImageError`` with the code
    /// `unsupported` for formats that are recognised and not understood.
    public static func identify(path: String, in files: HostFiles = .system) throws(ImageError) -> DiskImage? {
        try identify(path: path, in: files, mayBeDevice: files.haveDevices)
    }

    private static func identify(
        path: String, in files: HostFiles, mayBeDevice: Bool
    ) throws(ImageError) -> DiskImage? {
        let file = try ImageFile(path: path, in: files, mayBeDevice: mayBeDevice)
        // The names come first: what is in a flat extent, its guest wrote.
        if path.hasSuffix("-flat.vmdk") {
            return try oneFile(format: .vmdkFlat, path: path, size: file.size, in: files)
        }
        if let descriptor = descriptorPath(ofNumberedExtent: path) {
            return try imageOfDescriptor(at: descriptor, listing: path, in: files)
        }
        let head = try file.read(at: 0, count: VMDKDescriptor.maximumLength)
        if VMDKDescriptor.isDescriptor(head) {
            guard file.size <= VMDKDescriptor.maximumLength else {
                throw ImageError(
                    .malformed, path: path,
                    message: "VMDK descriptor of \(file.size) bytes, expected at most \(VMDKDescriptor.maximumLength)")
            }
            return try vmdk(path: path, descriptor: VMDKDescriptor(parsing: head, path: path), in: files)
        }
        let tailOffset = max(0, file.size - ForeignFormat.tailLength)
        let tail = try file.read(at: tailOffset, count: ForeignFormat.tailLength)
        if let format = ForeignFormat.name(head: head, tail: tail) {
            throw ImageError(
                .unsupported(format), path: path,
                message: "a \(format) image, which is not understood; expected a raw disk or a flat VMDK")
        }
        return nil
    }

    /// Whether a file that begins with `head`, of which some hundred bytes are enough, is a descriptor that names other files.
    public static func isDescriptor(_ head: [UInt8]) -> Bool { VMDKDescriptor.isDescriptor(head) }

    private static func oneFile(
        format: ImageFormat, path: String, size: Int, in files: HostFiles
    ) throws(ImageError) -> DiskImage {
        guard size <= largestSize else {
            throw ImageError(
                .malformed, path: path, message: "a file of \(size) bytes, expected a disk of at most \(largestSize)")
        }
        let hostFile = HostFile(path: path, role: .extent, location: files.location(of: path))
        let extents = size > 0 ? [ImageExtent(diskOffset: 0, length: size, source: .file(index: 0, offset: 0))] : []
        return try image(format: format, files: [hostFile], extents: extents)
    }

    private static func image(
        format: ImageFormat, files: [HostFile], extents: [ImageExtent]
    ) throws(ImageError) -> DiskImage {
        guard let image = DiskImage(format: format, files: files, extents: extents) else {
            throw ImageError(
                .malformed, path: files.first?.path ?? "",
                message: "two extents share bytes of a file, expected each byte of the disk in a place of its own")
        }
        return image
    }

    /// Files that one image may have beside its descriptor: a disk of 512 GiB in files of 2 GiB.
    static let mostExtentFiles = 256

    /// The disk that a descriptor describes, with its files checked.
    private static func vmdk(
        path: String, descriptor: VMDKDescriptor, in hostFiles: HostFiles
    ) throws(ImageError) -> DiskImage {
        var files = ExtentFiles(of: path, in: hostFiles)
        var extents: [ImageExtent] = []
        var end = 0
        for extent in descriptor.extents {
            guard extent.length <= largestSize - end else {
                throw ImageError(
                    .malformed, path: path, offset: extent.lineOffset,
                    message: "the extents add up to more than \(largestSize) bytes, the largest disk that is read")
            }
            var source = ImageExtent.Source.zero
            if case .file(let name, let inUTF8, let offset) = extent.source {
                let file = try files.find(name, or: inUTF8, lineOffset: extent.lineOffset)
                guard offset <= file.size, extent.length <= file.size - offset else {
                    throw ImageError(
                        .malformed, path: files.all[file.index].path, offset: offset,
                        message: "\(path) expects \(extent.length) bytes here, but the file ends at \(file.size)")
                }
                source = .file(index: file.index, offset: offset)
            }
            extents.append(ImageExtent(diskOffset: end, length: extent.length, source: source))
            end += extent.length
        }
        return try image(format: .vmdk, files: files.all, extents: extents)
    }

    /// The image of a descriptor, given that there is one and that it lists `extent`.
    private static func imageOfDescriptor(
        at path: String, listing extent: String, in files: HostFiles
    ) throws(ImageError) -> DiskImage? {
        do throws(ImageError) {
            // Nobody asked for this one: it is a file, or nothing.
            guard let image = try identify(path: path, in: files, mayBeDevice: false), image.format == .vmdk,
                image.files.contains(where: { $0.path == extent })
            else { return nil }
            return image
        } catch  where error.isNoSuchFile && error.path == path {
            return nil
        }
    }

    /// `NAME.vmdk` for `NAME-f001.vmdk`: the way VMware names the extents of a disk in several files.
    private static func descriptorPath(ofNumberedExtent path: String) -> String? {
        guard path.hasSuffix(".vmdk"), let dash = path.lastIndex(of: "-") else { return nil }
        let number = path[dash...].dropFirst().dropLast(".vmdk".count)
        guard number.first == "f", number.count > 1, number.dropFirst().allSatisfy(\.isNumber) else { return nil }
        return path[..<dash] + ".vmdk"
    }
}

/// The files of a descriptor's extents, which lie beside it.
private struct ExtentFiles {
    /// The descriptor, and the files that were found.
    private(set) var all: [HostFile]
    /// By the names that they have, however those stand in the descriptor: no byte of a file is in a disk twice.
    private var known: [ByteString: (index: Int, size: Int)] = [:]
    private let hostFiles: HostFiles
    private let descriptor: HostFile
    /// The bytes of its path, with the slash that ends it.
    private let directory: [UInt8]

    init(of path: String, in hostFiles: HostFiles) {
        self.hostFiles = hostFiles
        descriptor = HostFile(path: path, role: .descriptor, location: hostFiles.location(of: path))
        let bytes = descriptor.location.bytes
        directory = Array(bytes[..<(bytes.lastIndex(of: UInt8(ascii: "/")).map { $0 + 1 } ?? 0)])
        all = [descriptor]
    }

    /// The file `name`, or `other` when there is none: its index and its size in bytes.
    mutating func find(
        _ name: ByteString, or other: ByteString?, lineOffset: Int
    ) throws(ImageError) -> (index: Int, size: Int) {
        guard let other else { return try find(name, lineOffset: lineOffset) }
        do throws(ImageError) {
            return try find(name, lineOffset: lineOffset)
        } catch  where error.isNoSuchFile {
            return try find(other, lineOffset: lineOffset)
        }
    }

    private mutating func find(_ name: ByteString, lineOffset: Int) throws(ImageError) -> (index: Int, size: Int) {
        if let seen = known[name] { return seen }
        let location = ByteString(directory + name.bytes)
        let file = HostFile(path: hostFiles.path(of: location), role: .extent, location: location)
        guard file.location != descriptor.location else {
            throw ImageError(
                .forbiddenFile, path: descriptor.path, offset: lineOffset,
                message: "the descriptor lists itself as an extent, expected another file")
        }
        guard all.count <= DiskImage.mostExtentFiles else {
            throw ImageError(
                .malformed, path: descriptor.path, offset: lineOffset,
                message: "more than \(DiskImage.mostExtentFiles) files of extents, each of which would be kept open")
        }
        let found = (index: all.count, size: try ImageFile.size(ofExtent: file, in: hostFiles))
        all.append(file)
        known[name] = found
        return found
    }
}
