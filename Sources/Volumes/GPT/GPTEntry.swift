import BlockStorage

/// A partition entry of a GPT (UEFI 5.3.3).
struct GPTEntry {
    /// The number of the entry, from 0.
    let slot: Int
    /// The type GUID, in capitals.
    let type: String
    /// The first sector.
    let firstSector: UInt64
    /// The last sector, which belongs to the partition.
    let lastSector: UInt64
    /// The name, without what cannot be printed.
    let name: String

    /// The used entries of a table whose entries have `entryLength` bytes, at least 128.
    static func parse(table: [UInt8], entryLength: Int) -> [GPTEntry] {
        (0..<table.count / entryLength).compactMap { slot in
            GPTEntry(parsing: [UInt8](table[slot * entryLength..<(slot + 1) * entryLength]), slot: slot)
        }
    }

    /// Reads an entry, or returns nil when it is not used.
    private init?(parsing entry: [UInt8], slot: Int) {
        guard entry[..<16].contains(where: { $0 != 0 }) else { return nil }
        self.slot = slot
        type = Self.text(ofGUID: entry)
        firstSector = entry.littleEndian(at: 32)
        lastSector = entry.littleEndian(at: 40)
        let units = (0..<36).map { entry.littleEndian(UInt16.self, at: 56 + 2 * $0) }.prefix { $0 != 0 }
        name = printable(String(decoding: units, as: UTF16.self))
    }

    /// A GUID's text: the first three fields are little-endian numbers, the rest is in the order of the bytes.
    private static func text(ofGUID bytes: [UInt8]) -> String {
        let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15]
        var text = ""
        for (position, index) in order.enumerated() {
            if [4, 6, 8, 10].contains(position) { text += "-" }
            text += (bytes[index] < 16 ? "0" : "") + String(bytes[index], radix: 16, uppercase: true)
        }
        return text
    }
}
