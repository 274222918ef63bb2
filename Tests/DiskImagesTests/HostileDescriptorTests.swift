import BlockStorage
import Foundation
import TestTools
import Testing

@testable import DiskImages

/// Descriptors that a guest or a client may have written to get at what is not theirs, or to bring the server down.
struct HostileDescriptorTests {
    @Test func descriptorOfESXIWithZerosAndSeveralRunsOfOneFile() throws {
        try withDirectory { directory in
            let path = try write(
                "# Disk DescriptorFile\r\nversion=1\r\nencoding = \"UTF-8\"\r\nparentCID = ffffffff\r\ncreateType = \"vmfs\"\r\n"
                    + "RW 4 VMFS \"a b-flat.vmdk\"\r\nRW 2 ZERO\r\nRDONLY 3 FLAT \"a b-flat.vmdk\" 5\r\n"
                    + "ddb.adapterType = \"lsilogic\"\r\n", to: "\(directory)/disk.vmdk")
            try write(String(repeating: "x", count: 8 * 512), to: "\(directory)/a b-flat.vmdk")
            let image = try #require(try DiskImage.identify(path: path))
            #expect(image.size == 9 * 512)
            #expect(
                image.extents == [
                    ImageExtent(diskOffset: 0, length: 2048, source: .file(index: 1, offset: 0)),
                    ImageExtent(diskOffset: 2048, length: 1024, source: .zero),
                    ImageExtent(diskOffset: 3072, length: 1536, source: .file(index: 1, offset: 2560)),
                ])
            let disk = try VirtualDisk.open(image, access: .readWrite, mode: .buffered)
            let x = UInt8(ascii: "x")
            #expect(
                try disk.read(ByteRange(offset: 2047, length: 1026)) == [x] + [UInt8](repeating: 0, count: 1024) + [x])
            let error = #expect(throws: StorageError.self) { try disk.write([1, 2], at: 2047) }
            #expect(error?.code == .readOnly)
            #expect(try disk.read(ByteRange(offset: 2047, length: 1)) == [x])
        }
    }

    @Test(arguments: [
        "../secret-flat.vmdk", "/etc/passwd", "sub/x-flat.vmdk", "..", ".", "", "x\u{7}", "link-flat.vmdk", "pipe",
        "sub",
        "disk.vmdk", String(repeating: "x", count: 256),
    ])
    func extentsLeadNowhereElse(name: String) throws {
        try withDirectory { directory in
            try write("secret", to: "\(directory)/sub/x-flat.vmdk")
            try FileManager.default.createSymbolicLink(
                atPath: "\(directory)/link-flat.vmdk", withDestinationPath: "/etc/passwd")
            #expect(mkfifo("\(directory)/pipe", 0o600) == 0)
            let error = try self.error(of: "RW 1 FLAT \"\(name)\" 0", in: directory)
            #expect(error?.code == .forbiddenFile)
        }
    }

    @Test func extentPastTheEndOfItsFileNamesFileOffsetAndExpectation() throws {
        try withDirectory { directory in
            try write(String(repeating: "x", count: 1000), to: "\(directory)/x-flat.vmdk")
            let error = try self.error(of: "RW 2 FLAT \"x-flat.vmdk\" 1", in: directory)
            #expect(error?.code == .malformed)
            #expect(
                error?.description
                    == "\(directory)/x-flat.vmdk at 512: \(directory)/disk.vmdk expects 1024 bytes here, but the file ends"
                    + " at 1000")
        }
    }

    @Test func missingExtentIsNamed() throws {
        try withDirectory { directory in
            let error = try self.error(of: "RW 2 FLAT \"x-flat.vmdk\" 0", in: directory)
            #expect(error?.code == .system(ENOENT))
            #expect(error?.path == "\(directory)/x-flat.vmdk")
        }
    }

    @Test(arguments: [
        "RW 36028797018963968 FLAT \"x-flat.vmdk\" 0", "RW 1 FLAT \"x-flat.vmdk\" 36028797018963968",
        "RW 18014398509481983 FLAT \"x-flat.vmdk\" 18014398509481983", "RW 99999999999999999999 ZERO",
        "RW 0 FLAT \"x-flat.vmdk\" 0", "RW -1 FLAT \"x-flat.vmdk\" 0", "RW 1 FLAT \"x-flat.vmdk\" -1", "RW",
        "RW 1 FLAT",
        "RW 1 FLAT \"x-flat.vmdk", "RW 18014398509481983 ZERO\nRW 18014398509481983 ZERO",
        "RW 1 FLAT \"x-flat.vmdk\" 0\nRW 1 FLAT \"x-flat.vmdk\" 0", "version=1",
        "RW 18014398509481982 ZERO\nRW 1 FLAT \"x-flat.vmdk\" 0", "RW 1099511627776 ZERO\nRW 1 ZERO",
    ])
    func numbersThatMakeNoSenseAreMalformed(lines: String) throws {
        try withDirectory { directory in
            try write(String(repeating: "x", count: 2048), to: "\(directory)/x-flat.vmdk")
            let error = try self.error(of: lines, in: directory)
            #expect(error?.code == .malformed)
        }
    }

    @Test(arguments: [
        ("RW 1 SPARSE \"x\"", "vmfs", "VMDK with SPARSE extents"),
        ("NOACCESS 1 FLAT \"x\" 0", "vmfs", "VMDK with NOACCESS extents"),
        ("parentCID=12345678", "vmfs", "VMDK snapshot"),
        ("RW 1 ZERO", "vmfsSparse", "VMDK vmfsSparse"),
    ])
    func whatIsNotUnderstoodIsNamed(lines: String, createType: String, name: String) throws {
        try withDirectory { directory in
            let error = try self.error(of: lines, createType: createType, in: directory)
            #expect(error?.code == .unsupported(name))
        }
    }

    @Test(arguments: [
        "# Disk Descriptor File\n", "#Disk DescriptorFile\n", "\u{feff}# Disk DescriptorFile\r\n",
        "\n\r\n  # Disk DescriptorFile\n", "#DISK DESCRIPTORFILE\n",
    ])
    func firstLinesThatOtherProgramsWriteAreTaken(line: String) throws {
        try withDirectory { directory in
            try write(String(repeating: "x", count: 1024), to: "\(directory)/x-flat.vmdk")
            let path = try write(
                line + "createType=\"vmfs\"\nRW 0 FLAT \"gone-flat.vmdk\" 0\nRW 2 FLAT \"x-flat.vmdk\" 0\n",
                to: "\(directory)/disk.vmdk")
            let image = try #require(try DiskImage.identify(path: path))
            #expect(image.size == 1024 && image.files.count == 2)
        }
    }

    /// A file of the bytes that stand in the descriptor comes first, as with qemu; then one of the same text in UTF-8.
    @Test(arguments: [
        ("windows-1252", [0xe4, 0x80] as [UInt8], "ä€"), ("GBK", [0xc4, 0xe3], "你"), ("UTF-8", [0xc3, 0xa4], "ä"),
        // Happens to be UTF-8, too.
        ("GBK", [0xc4, 0xa3], "模"),
    ])
    func namesInOtherEncodings(encoding: String, bytes: [UInt8], name: String) throws {
        try withDirectory { directory in
            let path = "\(directory)/disk.vmdk"
            let rest = Array("-flat.vmdk".utf8)
            let head = "# Disk DescriptorFile\nencoding=\"\(encoding)\"\ncreateType=\"vmfs\"\nRW 2 FLAT \""
            try Data(Array(head.utf8) + bytes + rest + Array("\" 0\n".utf8)).write(to: URL(fileURLWithPath: path))
            var error = #expect(throws: ImageError.self) { try DiskImage.identify(path: path) }
            #expect(error?.code == .system(ENOENT) && error?.path == "\(directory)/\(name)-flat.vmdk")
            try write(String(repeating: "x", count: 1024), to: "\(directory)/\(name)-flat.vmdk")
            var image = try #require(try DiskImage.identify(path: path))
            #expect(image.files.last?.path == "\(directory)/\(name)-flat.vmdk")
            let raw = ByteString(Array("\(directory)/".utf8) + bytes + rest)
            try write(String(repeating: "y", count: 1024), to: raw)
            image = try #require(try DiskImage.identify(path: path))
            #expect(image.files.last?.location == raw)
            let disk = try VirtualDisk.open(image, access: .readOnly, mode: .buffered)
            try #expect(disk.read(ByteRange(offset: 1023, length: 1)) == [UInt8(ascii: "y")])
            // Only what is not there is looked for under another name.
            _ = raw.withCString { unlink($0) }
            _ = raw.withCString { mkdir($0, 0o755) }
            error = #expect(throws: ImageError.self) { try DiskImage.identify(path: path) }
            #expect(error?.code == .forbiddenFile)
        }
    }

    @Test func aFileOfTwoNamesIsOneFile() throws {
        try withDirectory { directory in
            try write(String(repeating: "x", count: 1024), to: "\(directory)/ä")
            let head = "# Disk DescriptorFile\nencoding=\"windows-1252\"\ncreateType=\"vmfs\"\n"
            func identify(second start: Int) throws -> DiskImage? {
                let path = "\(directory)/disk.vmdk"
                let first = Array("\(head)RW 1 FLAT \"".utf8) + [0xe4] + Array("\" 0\n".utf8)
                try Data(first + Array("RW 1 FLAT \"ä\" \(start)\n".utf8)).write(to: URL(fileURLWithPath: path))
                return try DiskImage.identify(path: path)
            }
            #expect(try identify(second: 1)?.files.count == 2)
            let error = #expect(throws: ImageError.self) { try identify(second: 0) }
            #expect(error?.code == .malformed)
        }
    }

    /// The C library knows hundreds of encodings; only those of hypervisors get to see a client's bytes.
    @Test(arguments: ["GEORGIAN-PS", "UTF-7", "IBM1364", "ISO-2022-JP-3", "CP1252//TRANSLIT", "", "Ä"])
    func encodingsThatNoHypervisorWritesAreNotAsked(encoding: String) throws {
        #expect(TextDecoder(encoding: encoding).text([0xc0, 0xc1]) == nil)
        #expect(TextDecoder(encoding: "Windows-1252").text([0xe4]) == "ä")
        #expect(TextDecoder(encoding: "Shift_JIS").text([0x83, 0x4a]) == "カ")
        #expect(TextDecoder(encoding: "windows-949-2000").text([0xb0, 0xa1]) == "가")
    }

    /// Opening a device does something to some: clients that may make devices must not have the server do it.
    @Test(.enabled(if: getuid() == 0, "makes devices"), arguments: [S_IFCHR, S_IFBLK])
    func devicesAreNotOpened(type: mode_t) throws {
        try withDirectory { directory in
            // Nobody answers for the device: opening it fails in another way.
            #expect(mknod("\(directory)/disk.vmdk", type | 0o600, dev_t(240 << 8)) == 0)
            let extent = try write("x", to: "\(directory)/disk-f001.vmdk")
            let files = HostFiles { path, flags in path.withCString { Glibc.open($0, flags) } }
            for path in ["\(directory)/disk.vmdk", extent] {
                let error = #expect(throws: ImageError.self) { try DiskImage.identify(path: path, in: files) }
                #expect(error?.code == .forbiddenFile && error?.path == "\(directory)/disk.vmdk")
            }
            let error = #expect(throws: ImageError.self) { try DiskImage.identify(path: extent) }
            #expect(error?.code == .forbiddenFile, "only what a user names may be a device")
        }
    }

    @Test func aNameInNoEncodingIsLookedForAsItIs() throws {
        try withDirectory { directory in
            let path = "\(directory)/disk.vmdk"
            let head = Array("# Disk DescriptorFile\nencoding=\"../x\"\ncreateType=\"vmfs\"\nRW 2 FLAT \"".utf8)
            try Data(head + [0xff, 0xfe] + Array("\" 0\n".utf8)).write(to: URL(fileURLWithPath: path))
            let error = #expect(throws: ImageError.self) { try DiskImage.identify(path: path) }
            #expect(error?.code == .system(ENOENT) && error?.path == #"\#(directory)/\xFF\xFE"#)
            try write(String(repeating: "x", count: 1024), to: ByteString(Array("\(directory)/".utf8) + [0xff, 0xfe]))
            #expect(try DiskImage.identify(path: path)?.size == 1024)
        }
    }

    @Test func aFileForEachExtentUpToALimit() throws {
        try withDirectory { directory in
            for number in 0...DiskImage.mostExtentFiles {
                try write(String(repeating: "x", count: 512), to: "\(directory)/\(number).vmdk")
            }
            func lines(_ count: Int) -> String {
                (0..<count).map { "RW 1 FLAT \"\($0).vmdk\" 0" }.joined(separator: "\n")
            }
            #expect(try self.error(of: lines(DiskImage.mostExtentFiles + 1), in: directory)?.code == .malformed)
            let path = try write(
                "# Disk DescriptorFile\ncreateType=\"vmfs\"\n" + lines(DiskImage.mostExtentFiles),
                to: "\(directory)/disk.vmdk")
            let image = try DiskImage.identify(path: path)
            #expect(image?.files.count == DiskImage.mostExtentFiles + 1)
        }
    }

    @Test(
        arguments: [
            ("QCOW", Array("QFI".utf8) + [0xfb, 0, 0, 0, 1], []),
            ("QCOW2", Array("QFI".utf8) + [0xfb, 0, 0, 0, 3], []), ("Parallels", Array("WithoutFreeSpace".utf8), []),
            ("Parallels", Array("WithouFreSpacExt".utf8), []),
            ("E01", Array("EVF".utf8) + [0x09, 0x0d, 0x0a, 0xff, 0], []), ("DMG", [], Array("koly".utf8)),
        ] as [(String, [UInt8], [UInt8])])
    func formatsThatAreNotUnderstoodAreNamed(name: String, head: [UInt8], tail: [UInt8]) throws {
        try withDirectory { directory in
            let path = "\(directory)/disk.img"
            let bytes =
                head + [UInt8](repeating: 0, count: 4096) + tail + [UInt8](repeating: 0, count: 512 - tail.count)
            try Data(bytes).write(to: URL(fileURLWithPath: path))
            let error = #expect(throws: ImageError.self) { try DiskImage.identify(path: path) }
            #expect(error?.code == .unsupported(name))
        }
    }

    @Test func sizesAreBounded() throws {
        try withDirectory { directory in
            let many = String(repeating: "RW 1 ZERO\n", count: VMDKDescriptor.maximumExtents + 1)
            let tooMany = try error(of: many, in: directory)
            #expect(tooMany?.code == .malformed)
            let long = String(repeating: "# comment\n", count: 7000)
            let error = try self.error(of: long + "RW 1 ZERO", in: directory)
            #expect(error?.message.contains("expected at most 65536") == true)
        }
    }

    @Test func numberedExtentWithoutADescriptorThatListsItIsNoImage() throws {
        try withDirectory { directory in
            let path = try write("x", to: "\(directory)/disk-f001.vmdk")
            #expect(try DiskImage.identify(path: path) == nil)
            try write("createType=\"vmfs\"", to: "\(directory)/disk.vmdk")
            #expect(try DiskImage.identify(path: path) == nil)
        }
    }

    @Test func whatAGuestWritesIntoAFlatExtentDoesNotMatter() throws {
        try withDirectory { directory in
            for text in ["# Disk DescriptorFile\ncreateType=\"vmfs\"\nRW 1 FLAT \"secret\" 0\n", "QFI\u{fb}", "KDMV"] {
                let path = try write(text, to: "\(directory)/disk-flat.vmdk")
                let image = try #require(try DiskImage.identify(path: path))
                #expect(image.format == .vmdkFlat)
                #expect(image.files == [HostFile(path: path, role: .extent)])
            }
        }
    }

    @Test func filesThatAreNotThereOrNoFiles() throws {
        try withDirectory { directory in
            #expect(throws: ImageError.self) { try DiskImage.identify(path: "\(directory)/none") }
            let error = #expect(throws: ImageError.self) { try DiskImage.identify(path: directory) }
            #expect(error?.code == .forbiddenFile)
            #expect(mkfifo("\(directory)/pipe", 0o600) == 0)
            #expect(throws: ImageError.self) { try DiskImage.raw(path: "\(directory)/pipe") }
            let empty = try write("", to: "\(directory)/empty")
            #expect(try DiskImage.identify(path: empty) == nil)
            #expect(try DiskImage.raw(path: empty).size == 0)
        }
    }

    @Test func damagedDescriptorsAreReadOrRefused() throws {
        let original = [UInt8](
            """
            # Disk DescriptorFile
            version=1
            parentCID=ffffffff
            createType="twoGbMaxExtentFlat"
            RW 4194304 FLAT "b-f001.vmdk" 0
            RW 4194304 FLAT "b-f002.vmdk" 0
            RW 2097152 ZERO
            """.utf8)
        var generator = SplitMix64(seed: 4)
        var accepted = 0
        for _ in 0..<50_000 {
            var bytes = original
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                let position = Int.random(in: bytes.indices, using: &generator)
                switch Int.random(in: 0..<4, using: &generator) {
                case 0: bytes[position] = UInt8.random(in: 0...255, using: &generator)
                case 1: bytes[position] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
                case 2: bytes.insert(UInt8(ascii: "9"), at: position)
                default: bytes.remove(at: position)
                }
            }
            guard let descriptor = try? VMDKDescriptor(parsing: bytes, path: "x") else { continue }
            accepted += 1
            for extent in descriptor.extents {
                #expect(extent.length > 0)
                guard case .file(let name, let inUTF8, let offset) = extent.source else { continue }
                #expect(
                    !name.bytes.contains(0x2f) && inUTF8?.bytes.contains(0x2f) != true && offset >= 0
                        && offset <= Int.max - extent.length)
            }
        }
        #expect(accepted > 1000)
    }

    /// What identifying a descriptor with `lines` throws.
    private func error(of lines: String, createType: String = "vmfs", in directory: String) throws -> ImageError? {
        let path = try write(
            "# Disk DescriptorFile\ncreateType=\"\(createType)\"\n\(lines)\n", to: "\(directory)/disk.vmdk")
        return #expect(throws: ImageError.self) { try DiskImage.identify(path: path) }
    }

    @discardableResult
    private func write(_ text: String, to path: String) throws -> String {
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        return path
    }

    private func write(_ text: String, to path: ByteString) throws {
        let file = try #require(path.withCString { fopen($0, "w") })
        defer { fclose(file) }
        #expect(fputs(text, file) >= 0)
    }

    /// A directory with a directory `sub` in it.
    private func withDirectory(_ body: (String) throws -> Void) throws {
        try withTemporaryDirectory { directory in
            try FileManager.default.createDirectory(atPath: "\(directory)/sub", withIntermediateDirectories: false)
            try body(directory)
        }
    }
}
