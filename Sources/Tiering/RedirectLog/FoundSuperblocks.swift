import BlockStorage

/// The superblocks of a log's devices, held against one another.
struct FoundSuperblocks {
    let newest: LogSuperblock
    /// The places of the devices that have superblocks; none in the first form.
    let places: [LogPlace]
    /// Whether all devices have the newest in both copies.
    let isEverywhere: Bool
    /// The sides of a mirror that are older copies.
    private(set) var staleSides: Set<Int> = []
    /// What an administrator should know of.
    private(set) var notes: [String] = []

    /// - Throws: when a device holds no log, or another than the first, or is an older copy and no side of a mirror.
    init(on sides: [any BlockDevice]) throws(StorageError) {
        var devices: [(device: any BlockDevice, side: Int, copies: SuperblockCopies)] = []
        for (index, side) in sides.enumerated() {
            for device in LogRing.labelled(side) { devices.append((device, index, try SuperblockCopies(of: device))) }
        }
        guard let newest = devices.compactMap(\.copies.newest).max(by: { $0.generation < $1.generation }) else {
            throw StorageError(.damaged, operation: "find a redirect log", device: sides.first?.name ?? "")
        }
        self.newest = newest
        isEverywhere = devices.allSatisfy { $0.copies.areEqual && $0.copies.newest?.generation == newest.generation }
        places = devices.compactMap(\.copies.newest?.place)
        // Only when all had the first copy the second was written.
        let isOnAll = devices.contains { $0.copies.areEqual && $0.copies.newest?.generation == newest.generation }
        for (device, side, copies) in devices {
            guard let found = copies.newest, found.identity == newest.identity else {
                throw StorageError(.damaged, operation: "find the log of the other devices", device: device.name)
            }
            if let offset = copies.damage { try noteDamage(at: offset, device, found) }
            guard found.generation < newest.generation else { continue }
            // A crash may have come between them; what has been missed meanwhile is missed then, too.
            staleSides.insert(side)
            guard isOnAll || found.generation + 1 < newest.generation else { continue }
            let message = "an older copy, of generation \(found.generation); expected \(newest.generation)"
            guard sides.count > 1 else { throw StorageError(.damaged, operation: message, device: device.name) }
            notes.append("\(device.name): \(message); what it lacks is copied from the other side of the mirror")
        }
    }

    private mutating func noteDamage(
        at offset: Int, _ device: any BlockDevice, _ other: LogSuperblock
    ) throws(StorageError) {
        let range = ByteRange(offset: offset, length: other.blockSize)
        let expected = "expected IRLOGSB\(other.place == nil ? 1 : LogSuperblock.form) and its checksum"
        // Of the first form only the older copy was written: this may have been the newest.
        guard other.place != nil else {
            throw StorageError(
                .damaged,
                operation: """
                    open the redirect log: a superblock is damaged (\(expected)), and the other, of generation \
                    \(other.generation), may be older than what was acknowledged
                    """, device: device.name, range: range)
        }
        notes.append("\(device.name): the superblock at \(offset) is damaged (\(expected)), and repaired from its copy")
    }
}
