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
    guard scanned < patches.count else { return }
    for patch in patches[scanned...] {
        write(patch, to: disk, introspector)
        if choice & 0x40 != 0 { digest(introspector, reader) }
    }
    digest(introspector, reader)
    check(introspector, reader)
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
