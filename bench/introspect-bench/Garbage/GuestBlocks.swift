import Foundation
import TestBed

/// Where an image has which of a guest's blocks, as `introspect-scan runs` tells.
struct GuestBlocks: Codable {
    /// Bytes of a block.
    static let size = 4096

    /// Offsets of blocks with contents of files.
    private(set) var data: [Int] = []
    /// Offsets of blocks of metadata without which it is still a file system: not superblocks, descriptors, journal.
    private(set) var metadata: [Int] = []
    /// Offsets of all blocks of metadata.
    private(set) var allMetadata: [Int] = []

    /// Reads the map of an image.
    init(of image: String) throws {
        let runs = try run(try Executable.path(of: "introspect-scan"), "runs", image)
        for line in runs.split(separator: "\n") {
            let fields = line.split(separator: " ")
            guard fields.count == 4, let offset = Int(fields[0]), let length = Int(fields[1]) else {
                throw TestBedError("introspect-scan runs \(image): \(line)")
            }
            let blocks = stride(from: offset / Self.size * Self.size, to: offset + length, by: Self.size)
            switch fields[2] {
            case "data": data += blocks
            case "free", "unknown", "pending": break
            case "superblock", "group-descriptor", "journal": allMetadata += blocks
            default:
                metadata += blocks
                allMetadata += blocks
            }
        }
        guard !data.isEmpty, !metadata.isEmpty else { throw TestBedError("\(image): no file system with files") }
    }
}
