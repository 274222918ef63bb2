/// Disk image formats that are recognised in order not to be taken for raw disks.
enum ForeignFormat {
    /// How many bytes at the start of a file the signatures need.
    static let headLength = 72
    /// How many bytes at the end of a file the signatures need.
    static let tailLength = 512

    /// The format whose signature a file carries at its start or its end, or nil.
    ///
    /// Signatures: QEMU `docs/interop/qcow2.rst` and `qed_spec.rst`, VMware "Virtual Disk Format 5.0", libvmdk's
    /// document on COWD and seSparse, VirtualBox `VDICore.h`, Microsoft's specifications of VHD and VHDX, QEMU
    /// `docs/interop/parallels.rst`, libewf's and libmodi's documents on E01 and DMG.
    static func name(head: [UInt8], tail: [UInt8]) -> String? {
        let signatures: [(name: String, offset: Int, bytes: [UInt8])] = [
            ("QCOW", 0, Array("QFI".utf8) + [0xfb, 0, 0, 0, 1]),
            ("QCOW2", 0, Array("QFI".utf8) + [0xfb]),
            ("QED", 0, Array("QED".utf8) + [0]),
            ("VMDK sparse extent", 0, Array("KDMV".utf8)),
            ("VMDK COWD sparse extent", 0, Array("COWD".utf8)),
            ("VMDK seSparse extent", 0, [0xbe, 0xba, 0xfe, 0xca, 0, 0, 0, 0]),
            ("VDI", 64, [0x7f, 0x10, 0xda, 0xbe]),
            ("VHDX", 0, Array("vhdxfile".utf8)),
            ("VHD", 0, Array("conectix".utf8)),
            ("Parallels", 0, Array("WithoutFreeSpace".utf8)),
            ("Parallels", 0, Array("WithouFreSpacExt".utf8)),
            ("E01", 0, Array("EVF".utf8) + [0x09, 0x0d, 0x0a, 0xff, 0x00]),
        ]
        if let match = signatures.first(where: { head.dropFirst($0.offset).starts(with: $0.bytes) }) {
            return match.name
        }
        // A fixed VHD, and a DMG, have their only signature behind the disk's bytes.
        if tail.starts(with: Array("koly".utf8)) { return "DMG" }
        return tail.starts(with: Array("conectix".utf8)) ? "VHD" : nil
    }
}
