import BlockStorage

/// The label and header of an LVM2 physical volume (`label_header` and `pv_header` of lvm2's `format_text/layout.h`).
struct LVMLabel {
    /// How many bytes at the start of a device may hold the label: four sectors of 512 bytes.
    static let scannedLength = 4 * sectorLength
    private static let sectorLength = 512
    private static let headerLength = 32

    /// The identifier of the physical volume: 32 characters, without the dashes that lvm prints.
    let identifier: String
    /// The size that the physical volume was made for, in bytes.
    let deviceSize: UInt64
    /// Where the metadata areas are, in bytes of the physical volume.
    let metadataAreas: [ByteRange]

    /// Reads the label in the first four sectors of a device.
    ///
    /// `offset` is where they are on the disk. Returns nil when no sector is a label; what makes a sector that looks
    /// like one unusable goes to `report`.
    static func find(in bytes: [UInt8], at offset: Int, report: (VolumeProblem) -> Void) -> LVMLabel? {
        for start in stride(from: 0, through: bytes.count - sectorLength, by: sectorLength) {
            let sector = [UInt8](bytes[start..<start + sectorLength])
            guard sector.hasASCII("LABELONE", at: 0) else { continue }
            do throws(VolumeProblem) {
                return try LVMLabel(parsing: sector, number: start / sectorLength, at: offset + start)
            } catch {
                report(error)
            }
        }
        return nil
    }

    /// Reads the label in a sector that begins with LABELONE.
    private init(parsing sector: [UInt8], number: Int, at offset: Int) throws(VolumeProblem) {
        func problem(_ message: String) -> VolumeProblem { VolumeProblem(offset: offset, message: message) }
        let claimed = sector.littleEndian(UInt64.self, at: 8)
        guard claimed == UInt64(number) else {
            throw problem("LVM2 label says that it is in sector \(claimed), but it is in sector \(number); ignored")
        }
        let stored = sector.littleEndian(UInt32.self, at: 16)
        let computed = LVMChecksum.of(sector[20...])
        guard stored == computed else {
            throw problem(
                "LVM2 label checksum \(stored.hexadecimal), expected \(computed.hexadecimal); ignored")
        }
        guard sector.hasASCII("LVM2 001", at: 24) else {
            throw problem("LVM2 label of an unknown type, expected LVM2 001; ignored")
        }
        let header = sector.littleEndian(UInt32.self, at: 20)
        guard header >= Self.headerLength, header <= Self.sectorLength - 40 else {
            throw problem("LVM2 label puts its header at \(header), expected 32 to 472; ignored")
        }
        let start = Int(header)
        identifier = printable(String(decoding: sector[start..<start + 32], as: UTF8.self))
        deviceSize = sector.littleEndian(at: start + 32)
        guard let (_, afterData) = Self.locations(in: sector, from: start + 40),
            let (metadata, _) = Self.locations(in: sector, from: afterData)
        else { throw problem("LVM2 label lists more areas than its sector can hold; ignored") }
        metadataAreas = metadata
    }

    /// The areas listed from `offset` to a pair of zeros, and where the list after it begins; nil when there is no
    /// such end. Areas whose numbers overflow are left out.
    private static func locations(in sector: [UInt8], from offset: Int) -> (areas: [ByteRange], next: Int)? {
        var areas: [ByteRange] = []
        for entry in stride(from: offset, through: sector.count - 16, by: 16) {
            let start = sector.littleEndian(UInt64.self, at: entry)
            let length = sector.littleEndian(UInt64.self, at: entry + 8)
            if start == 0 { return (areas, entry + 16) }
            if let area = ByteRange(checkedOffset: start, length: length) { areas.append(area) }
        }
        return nil
    }
}

/// The checksum of lvm2's `calc_crc`: CRC-32 with a start of its own and no inversion at the end.
enum LVMChecksum {
    /// `INITIAL_CRC` of lvm2's `crc.h`.
    private static let initial: UInt32 = 0xf597_a6cf

    static func of(_ bytes: ArraySlice<UInt8>) -> UInt32 {
        CRC32.update(initial, with: bytes)
    }
}
