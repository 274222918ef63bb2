import BlockStorage

/// A GPT header (UEFI 5.3.2): where the partition entries are, and how to tell that both are whole.
struct GPTHeader {
    /// Bounds on what a table may ask of us; the usual one is 16 KiB of entries.
    static let maximumEntriesLength = 1 << 20

    /// Where the other header is, in sectors.
    let alternateSector: UInt64
    /// The entries on the disk, in bytes.
    let entriesRange: ByteRange
    /// The size of one entry, in bytes.
    let entryLength: Int
    /// The checksum of all entries.
    let entriesChecksum: UInt32

    /// Whether `sector` begins like a header.
    static func hasSignature(_ sector: [UInt8]) -> Bool { sector.hasASCII("EFI PART", at: 0) }

    /// Reads the header in `sector`, which was found at sector number `number` of a disk of `diskSize` bytes.
    init(parsing sector: [UInt8], number: Int, diskSize: Int) throws(VolumeProblem) {
        let offset = number * sector.count
        func problem(_ message: String) -> VolumeProblem { VolumeProblem(offset: offset, message: message) }
        guard sector.count >= 512, Self.hasSignature(sector) else {
            throw problem("no GPT header: the signature EFI PART is missing")
        }
        let length = sector.littleEndian(UInt32.self, at: 12)
        guard length >= 92, length <= sector.count else {
            throw problem("GPT header length \(length), expected 92 to \(sector.count)")
        }
        let stored = sector.littleEndian(UInt32.self, at: 16)
        let computed = Self.checksum(ofHeader: sector[..<Int(length)])
        guard stored == computed else {
            throw problem("GPT header checksum \(stored.hexadecimal), expected \(computed.hexadecimal)")
        }
        let own = sector.littleEndian(UInt64.self, at: 24)
        guard own == UInt64(number) else {
            throw problem("GPT header says that it is sector \(own), but it is sector \(number)")
        }
        alternateSector = sector.littleEndian(UInt64.self, at: 32)
        entriesChecksum = sector.littleEndian(UInt32.self, at: 88)
        let entryLength = sector.littleEndian(UInt32.self, at: 84)
        guard entryLength >= 128, entryLength <= 4096, entryLength.nonzeroBitCount == 1 else {
            throw problem("GPT entry size \(entryLength), expected a power of two from 128 to 4096")
        }
        self.entryLength = Int(entryLength)
        let count = sector.littleEndian(UInt32.self, at: 80)
        // Both factors have at most 32 bits, so the product fits.
        let entriesLength = UInt64(count) * UInt64(entryLength)
        guard entriesLength <= UInt64(Self.maximumEntriesLength) else {
            throw problem("\(count) GPT entries, expected at most \(Self.maximumEntriesLength / self.entryLength)")
        }
        let first = sector.littleEndian(UInt64.self, at: 72)
        let (start, overflow) = first.multipliedReportingOverflow(by: UInt64(sector.count))
        guard first >= 1, !overflow, let range = ByteRange(checkedOffset: start, length: entriesLength),
            range.end <= diskSize
        else {
            throw problem(
                "GPT entries at sector \(first), \(entriesLength) bytes: outside the disk of \(diskSize) bytes")
        }
        entriesRange = range
    }

    /// The checksum of a header, with its own field taken as zeros.
    private static func checksum(ofHeader header: ArraySlice<UInt8>) -> UInt32 {
        var register = CRC32.update(.max, with: header[..<16])
        register = CRC32.update(register, with: [0, 0, 0, 0])
        return ~CRC32.update(register, with: header[20...])
    }
}
