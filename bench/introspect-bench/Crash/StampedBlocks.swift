import Glibc
import TestBed

/// Contents of blocks that say what they are: each sector names its block and the version, and the rest of it follows
/// from these and from its place, so that a sector that is torn, misplaced or made of two is none.
struct StampedBlocks: Sendable {
    /// Bytes of a block.
    static let size = 4096
    /// Bytes that a disk writes as one.
    static let sectorSize = 512
    /// Sectors of a block.
    static let sectors = size / sectorSize

    /// Tells these stamps from those of another run.
    let seed: UInt64

    /// Fills a block with what `version` of it is.
    func fill(_ bytes: UnsafeMutableRawBufferPointer, block: Int, version: UInt32) {
        let place = Self.place(block, version)
        for sector in 0..<Self.sectors {
            let words = UnsafeMutableRawBufferPointer(
                rebasing: bytes[sector * Self.sectorSize..<(sector + 1) * Self.sectorSize])
            words.initializeMemory(as: UInt64.self, repeating: filler(place, sector))
            words.storeBytes(of: seed, as: UInt64.self)
            words.storeBytes(of: place, toByteOffset: 8, as: UInt64.self)
        }
    }

    /// The version that a sector of a block has; nil for anything but a whole sector of it.
    func version(of sector: UnsafeRawBufferPointer, block: Int, index: Int) -> UInt32? {
        let words = (0..<3).map { sector.loadUnaligned(fromByteOffset: $0 * 8, as: UInt64.self) }
        let version = UInt32(truncatingIfNeeded: words[1])
        let place = Self.place(block, version)
        guard words == [seed, place, filler(place, index)], let start = sector.baseAddress,
            memcmp(start + 16, start + 24, Self.sectorSize - 24) == 0
        else { return nil }
        return version
    }

    /// What a sector is that has no version of its block, for a message.
    func description(of sector: UnsafeRawBufferPointer) -> String {
        let words = (0..<2).map { sector.loadUnaligned(fromByteOffset: $0 * 8, as: UInt64.self) }
        if words[0] == seed { return "the stamp of block \(words[1] >> 32), version \(words[1] & 0xFFFF_FFFF)" }
        return sector.allSatisfy { $0 == 0 } ? "zeros" : "foreign bytes"
    }

    private static func place(_ block: Int, _ version: UInt32) -> UInt64 { UInt64(block) << 32 | UInt64(version) }

    private func filler(_ place: UInt64, _ sector: Int) -> UInt64 {
        var generator = SeededGenerator(seed: seed ^ place &+ UInt64(sector) << 56)
        return generator.next()
    }
}
