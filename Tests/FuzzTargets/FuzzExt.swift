import BlockStorage
import Introspection

private let disks = ["ext2", "ext3", "ext4", "ext4-checksums", "ext4-meta-bg"].map(PatchedDisk.init(named:))

/// Scribbles on the metadata of a guest file system: before it is scanned, and after, as writes of the guest.
///
/// The first byte of the input chooses the disk; by its highest bit, half of the patches are writes; by the next, each of
/// them is digested by itself.
func fuzzExt(_ input: UnsafeRawBufferPointer) {
    guard let choice = input.first else { return }
    let disk = disks[Int(choice & 0x3f) % disks.count]
    let patches = disk.patches(input.dropFirst())
    let scanned = choice & 0x80 == 0 ? patches.count : patches.count / 2
    disk.reset(applying: patches[..<scanned])
    let introspector = DiskIntrospector(name: disk.name, diskSize: disk.size)
    let reader = DeviceReader(disk)
    guard (try? introspector.scan(reader, parallelism: 1)) != nil else {
        preconditionFailure("bytes made the scan fail")
    }
    check(introspector, reader)
    guard scanned < patches.count else { return readFiles(reader) }
    for patch in patches[scanned...] {
        write(patch, to: disk, introspector)
        if choice & 0x40 != 0 { digest(introspector, reader) }
    }
    digest(introspector, reader)
    check(introspector, reader)
    readFiles(reader)
}

/// Writes the whole 1 KiB block that a patch is in, as a guest would.
private func write(_ patch: PatchedDisk.Patch, to disk: PatchedDisk, _ introspector: DiskIntrospector) {
    let offset = patch.offset & ~1023
    let length = min(1024, disk.size - offset)
    guard var block = try? disk.read(ByteRange(offset: offset, length: length)) else { return }
    let start = patch.offset - offset
    let bytes = patch.bytes.prefix(length - start)
    block.replaceSubrange(start..<start + bytes.count, with: bytes)
    block.withUnsafeBytes { bytes in
        try? disk.write(bytes, at: offset)
        _ = introspector.recordWrite(bytes, at: offset)
    }
}

/// Digests until nothing waits, which must come to an end.
private func digest(_ introspector: DiskIntrospector, _ reader: DeviceReader) {
    for _ in 0..<10_000 where !introspector.digest(reader).needsDigest { return }
    preconditionFailure("the digest never ends")
}

/// Classes and runs cover the disk without a gap, whatever the bytes say.
private func check(_ introspector: DiskIntrospector, _ reader: DeviceReader) {
    var end = 0
    introspector.forEachClass(in: ByteRange(offset: 0, length: reader.size)) { range, _ in
        precondition(range.offset == end && !range.isEmpty, "a gap in the classes at \(end)")
        end = range.end
    }
    precondition(end == reader.size, "classes end at \(end)")
    var options = ScanOptions()
    options.parallelism = 1
    guard let index = try? ObjectIndex(reader: reader, name: introspector.name, options: options) else {
        preconditionFailure("bytes made the index fail")
    }
    var runEnd = 0
    index.forEachRun(in: ByteRange(offset: 0, length: reader.size)) { run in
        precondition(run.range.offset == runEnd && !run.range.isEmpty, "a gap in the runs at \(runEnd)")
        runEnd = run.range.end
    }
    precondition(runEnd == reader.size, "runs end at \(runEnd)")
    for offset in stride(from: 0, to: reader.size, by: reader.size / 7) {
        _ = index.explain(offset: offset)
    }
}

/// Looks at some files as introspect-scan does. Damage may make any of it fail.
private func readFiles(_ reader: DeviceReader) {
    var problems: [String] = []
    guard let fileSystems = try? GuestFileSystem.all(on: reader, name: "disk", problems: &problems) else {
        preconditionFailure("bytes made opening fail")
    }
    for fileSystem in fileSystems {
        for path in ["/mapped", "/a/b/../many", "/a/slow-link"] {
            if let file = try? fileSystem.file(at: ByteString(path)) { readContents(of: file, in: fileSystem) }
        }
        var inodes: [UInt32] = [2, 8]
        var next = 0
        while next < min(inodes.count, 32) {
            if let file = try? fileSystem.file(inode: inodes[next]) { inodes += look(at: file, in: fileSystem) }
            next += 1
        }
    }
}

private enum EnoughRead: Error { case enough }

private func readContents(of file: GuestFile, in fileSystem: GuestFileSystem) {
    var count = 0
    try? fileSystem.forEachPiece(of: file) { (bytes: UnsafeRawBufferPointer) throws(EnoughRead) in
        count += bytes.count
        if count > 1 << 20 { throw .enough }
    }
    precondition(UInt64(count) <= file.size, "inode \(file.number) is longer than its size")
}

/// Asks where `file` is, and returns the inodes that it names.
private func look(at file: GuestFile, in fileSystem: GuestFileSystem) -> [UInt32] {
    for place in (try? fileSystem.places(of: file)) ?? [] {
        precondition(place.range.end <= fileSystem.volume.size, "inode \(file.number) has a place outside the volume")
    }
    _ = try? fileSystem.target(of: file)
    return ((try? fileSystem.entries(of: file)) ?? []).prefix(64).map(\.inode)
}
