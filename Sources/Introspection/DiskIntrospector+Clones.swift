import BlockStorage
import GuestFilesystems

/// Disks of this process with file systems of the same UUID: most likely one was cloned from the other.
///
/// A clone's map and object index are made by a scan of its own, and then share what is the same with those of the others:
/// chunks of sorted runs and of bits with equal contents become one, which Swift's arrays copy when a guest's write makes
/// one of the disks differ there. So nothing is kept that says who shares what, and nothing on the way of a write knows.
enum Clones {
    private struct Disk {
        weak var introspector: DiskIntrospector?
    }

    /// The disks that are looked at for what is the same: they share with each other already.
    private static let relativeLimit = 4

    private static let disks = Locked<[[UInt8]: [Disk]]>([:])

    /// Lets disks that come later find `introspector`, whose file systems have these UUIDs.
    static func add(_ introspector: DiskIntrospector, with uuids: [[UInt8]]) {
        disks.withLock { disks in
            for uuid in Set(uuids) {
                let others = disks[uuid, default: []].filter {
                    $0.introspector != nil && $0.introspector !== introspector
                }
                disks[uuid] = others + [Disk(introspector: introspector)]
            }
            for (uuid, known) in disks where known.allSatisfy({ $0.introspector == nil }) { disks[uuid] = nil }
        }
    }

    /// Others with a file system that has this UUID.
    static func relatives(of introspector: DiskIntrospector, uuid: [UInt8]) -> [DiskIntrospector] {
        disks.withLock { disks in
            let others = disks[uuid, default: []].lazy.compactMap(\.introspector).filter { $0 !== introspector }
            return Array(others.prefix(relativeLimit))
        }
    }
}

extension DiskIntrospector {
    /// Has `fileSystem`, which is not in service yet, share what it can with clones.
    func share(_ fileSystem: LiveFileSystem) {
        let uuid = fileSystem.geometry.superblock.uuidBytes
        for relative in Clones.relatives(of: self, uuid: uuid) {
            let parts = relative.state.withLock { state in
                state.fileSystems.first { $0.geometry.superblock.uuidBytes == uuid }.map(LiveFileSystem.Parts.init)
            }
            if let parts { fileSystem.share(with: parts) }
        }
    }

    /// Has `objects` share what it can with those of clones; without those that are being brought up to date.
    func share(_ objects: inout LiveObjects, ofFileSystemWith uuid: [UInt8]) {
        for relative in Clones.relatives(of: self, uuid: uuid) {
            let number = relative.state.withLock { state in
                state.fileSystems.firstIndex { $0.geometry.superblock.uuidBytes == uuid }
            }
            // Whoever waited here could wait for one that waits for this disk's.
            guard let number else { continue }
            let others = relative.objects.withLockIfAvailable { $0.of(number) }
            if let others = others ?? nil { objects.share(with: others) }
        }
    }
}

extension LiveFileSystem {
    /// What clones may share.
    struct Parts: Sendable {
        let places: ExtPlaces
        let descriptors: [ExtGroupDescriptor]
        let fixed: [FileSystemMap.FixedRun]
        let dynamic: SortedChunks<FileSystemMap.DynamicRun>
        let owners: SortedChunks<FileSystemMap.OwnerEntry>
        let digests: SortedChunks<FileSystemMap.RootDigest>
        let allocation: AllocationBits

        init(_ fileSystem: LiveFileSystem) {
            places = fileSystem.places
            descriptors = fileSystem.descriptors
            fixed = fileSystem.map.fixed
            dynamic = fileSystem.map.dynamic
            owners = fileSystem.map.owners
            digests = fileSystem.map.digests
            allocation = fileSystem.map.allocation
        }
    }

    /// Takes what `parts` has too from there.
    fileprivate func share(with parts: Parts) {
        if places == parts.places { places = parts.places }
        if descriptors == parts.descriptors { descriptors = parts.descriptors }
        if map.fixed == parts.fixed { map.fixed = parts.fixed }
        map.dynamic.share(with: parts.dynamic)
        map.owners.share(with: parts.owners)
        map.digests.share(with: parts.digests)
        map.allocation.share(with: parts.allocation)
    }
}
