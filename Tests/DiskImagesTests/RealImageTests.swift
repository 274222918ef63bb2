import BlockStorage
import Foundation
import TestTools
import Testing

@testable import DiskImages

/// Images that qemu-img made, against the raw disk that it makes of them.
struct RealImageTests {
    @Test func monolithicFlat() throws {
        try withImage(subformat: "monolithicFlat", size: (8 << 20) + 512, marks: [0, 4 << 20, 8 << 20]) {
            path, raw, marks in
            let image = try #require(try DiskImage.identify(path: path))
            #expect(image.format == .vmdk)
            #expect(image.path == path)
            #expect(image.files.map(\.role) == [.descriptor, .extent])
            #expect(image.size == (8 << 20) + 512)
            try expectEqual(image, raw, around: marks)
            let flat = path.replacingOccurrences(of: "disk.vmdk", with: "disk-flat.vmdk")
            let alone = try #require(try DiskImage.identify(path: flat))
            #expect(alone.format == .vmdkFlat)
            #expect(alone.files == [HostFile(path: flat, role: .extent)])
            #expect(alone.size == image.size)
            try expectEqual(alone, raw, around: marks)
        }
    }

    @Test func twoGbMaxExtentFlat() throws {
        let boundary = 2 << 30
        let marks = [
            0, boundary - 4096, boundary - 100, boundary, 2 * boundary - 1000, 2 * boundary + (1 << 20) - 4096,
        ]
        try withImage(subformat: "twoGbMaxExtentFlat", size: 2 * boundary + (1 << 20), marks: marks) {
            path, raw, marks in
            let image = try #require(try DiskImage.identify(path: path))
            #expect(image.files.count == 4)
            #expect(image.extents.map(\.length) == [boundary, boundary, 1 << 20])
            try expectEqual(image, raw, around: marks)
            let second = try #require(try DiskImage.identify(path: image.files[2].path))
            #expect(second.files == image.files)
            #expect(second.diskOffset(file: 2, offset: 5) == boundary + 5)
        }
    }

    @Test func writesThroughTheDiskAreWhatQEMUReads() throws {
        try withImage(subformat: "twoGbMaxExtentFlat", size: (2 << 30) + (1 << 20), marks: [0]) { path, raw, _ in
            let image = try #require(try DiskImage.identify(path: path))
            let disk = try VirtualDisk.open(image, access: .readWrite, mode: .buffered)
            let written = [UInt8]((0..<5000).map { UInt8(truncatingIfNeeded: $0) })
            try disk.write(written, at: (2 << 30) - 2500)
            try disk.flush()
            try runTool("qemu-img", ["convert", "-f", "vmdk", "-O", "raw", path, raw])
            let device = try FileDevice(path: raw, access: .readOnly, mode: .buffered)
            #expect(try device.read(ByteRange(offset: (2 << 30) - 2500, length: 5000)) == written)
        }
    }

    /// Whatever `encoding` says: qemu takes a name's bytes as they are.
    @Test(arguments: ["windows-1252", "UTF-8"])
    func anExtentWhoseNameIsNoTextIsWhatQEMUOpens(encoding: String) throws {
        try withTemporaryDirectory { directory in
            let name = [0xe4] + Array("-flat.vmdk".utf8)
            let flat = ByteString(Array("\(directory)/".utf8) + name)
            let descriptor = flat.withCString { open($0, O_CREAT | O_RDWR, 0o600) }
            #expect(ftruncate(descriptor, 4 << 20) == 0)
            close(descriptor)
            let path = "\(directory)/disk.vmdk"
            let head =
                "# Disk DescriptorFile\nversion=1\nencoding=\"\(encoding)\"\nCID=fffffffe\nparentCID=ffffffff\n"
                + "createType=\"monolithicFlat\"\nRW 4096 FLAT \""
            try Data(Array(head.utf8) + name + Array("\" 1024\n".utf8)).write(to: URL(fileURLWithPath: path))
            let image = try #require(try DiskImage.identify(path: path))
            #expect(image.files.map(\.location) == [ByteString(path), flat])
            #expect(image.files[1].path == #"\#(directory)/\xE4-flat.vmdk"#)
            let written = [UInt8]((0..<5000).map { UInt8(truncatingIfNeeded: $0) })
            let disk = try VirtualDisk.open(image, access: .readWrite, mode: .buffered)
            try disk.write(written, at: 1 << 20)
            try disk.flush()
            #expect(try runTool("qemu-img", ["info", path]).contains("virtual size: 2 MiB (\(image.size) bytes)"))
            let map = try runTool("qemu-img", ["map", "--output=json", path])
            #expect(map.contains(#""offset": \#((1 << 20) + 1024 * 512)"#))
            let raw = "\(directory)/raw"
            try runTool("qemu-img", ["convert", "-f", "vmdk", "-O", "raw", path, raw])
            let device = try FileDevice(path: raw, access: .readOnly, mode: .buffered)
            #expect(
                try device.read(ByteRange(offset: 0, length: image.size))
                    == disk.read(ByteRange(offset: 0, length: image.size)))
        }
    }

    @Test(arguments: [
        ("qcow2", [], "QCOW2"), ("qed", [], "QED"), ("vdi", [], "VDI"), ("vhdx", [], "VHDX"), ("vpc", [], "VHD"),
        ("vpc", ["-o", "subformat=fixed"], "VHD"), ("vmdk", [], "VMDK sparse extent"),
        ("vmdk", ["-o", "subformat=streamOptimized"], "VMDK sparse extent"),
        ("vmdk", ["-o", "subformat=twoGbMaxExtentSparse"], "VMDK twoGbMaxExtentSparse"),
    ])
    func formatsThatAreNotUnderstoodAreNamed(format: String, options: [String], name: String) throws {
        try withTemporaryDirectory { directory in
            let path = "\(directory)/disk.\(format)"
            try runTool("qemu-img", ["create", "-q", "-f", format] + options + [path, "4M"])
            let error = #expect(throws: ImageError.self) { try DiskImage.identify(path: path) }
            #expect(error?.code == .unsupported(name))
            #expect(error?.description.hasPrefix(path) == true)
        }
    }

    @Test func aRawDiskIsNoKnownImage() throws {
        try withTemporaryDirectory { directory in
            let path = "\(directory)/disk.img"
            try runTool("qemu-img", ["create", "-q", "-f", "raw", path, "4M"])
            #expect(try DiskImage.identify(path: path) == nil)
            let raw = try DiskImage.raw(path: path)
            #expect(raw.format == .raw)
            #expect(raw.size == 4 << 20)
            #expect(raw.extents == [ImageExtent(diskOffset: 0, length: 4 << 20, source: .file(index: 0, offset: 0))])
        }
    }

    /// Compares the disk with a raw file around `marks` and at both ends.
    private func expectEqual(_ image: DiskImage, _ raw: String, around marks: [Int]) throws {
        let disk = try VirtualDisk.open(image, access: .readOnly, mode: .directIfPossible)
        let expected = try FileDevice(path: raw, access: .readOnly, mode: .buffered)
        #expect(disk.size == expected.size)
        for mark in marks + [0, disk.size] {
            let start = max(0, mark - 10_001)
            let range = ByteRange(offset: start, length: min(20_000, disk.size - start))
            #expect(try disk.read(range) == expected.read(range), "around \(mark)")
        }
    }

    /// Calls `body` with a VMDK that holds random bytes at `marks`, and the raw disk that qemu-img makes of it.
    private func withImage(
        subformat: String, size: Int, marks: [Int],
        _ body: (_ path: String, _ raw: String, _ marks: [Int]) throws -> Void
    ) throws {
        try withTemporaryDirectory { directory in
            let source = "\(directory)/source"
            try makeSparseFile(source, size: size)
            var generator = SplitMix64(seed: 3)
            do {
                let device = try FileDevice(path: source, access: .readWrite, mode: .buffered)
                for mark in marks {
                    let bytes = (0..<min(9000, size - mark)).map { _ in UInt8.random(in: 1...255, using: &generator) }
                    try device.write(bytes, at: mark)
                }
            }
            let (path, raw) = ("\(directory)/disk.vmdk", "\(directory)/raw")
            try runTool(
                "qemu-img", ["convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=\(subformat)", source, path])
            try runTool("qemu-img", ["convert", "-f", "vmdk", "-O", "raw", path, raw])
            try body(path, raw, marks)
        }
    }
}
