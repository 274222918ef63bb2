import Volumes

/// An image with LVM2 physical volumes, and which others its volume groups need.
struct VolumeGroupDisk {
    /// Images that are read as one at most.
    private static let largestGroup = 64

    let path: String
    let volumes: PhysicalVolumeSet

    private var directory: Substring { path.dropLast(path.split(separator: "/").last?.count ?? 0) }

    /// The indices of the first disks that belong together and are apart, those with the lowest paths first; nil when
    /// there are none.
    ///
    /// Clones of machines have physical volumes of the same identifiers: only disks of one directory are taken together,
    /// and only where each physical volume is there once.
    static func firstGroup(of disks: [VolumeGroupDisk]) -> [Int]? {
        for (number, disk) in disks.enumerated() where !disk.volumes.missing.isEmpty {
            let others = disks.indices.filter { $0 != number && disks[$0].directory == disk.directory }
            let partners = others.filter { !disks[$0].volumes.present.isDisjoint(with: disk.volumes.missing) }
            let group = (partners + [number]).sorted { disks[$0].path < disks[$1].path }
            var seen: Set<String> = []
            let isUnique = (others + [number]).allSatisfy { index in
                let relevant = disks[index].volumes.present.intersection(
                    disk.volumes.missing.union(disk.volumes.present))
                defer { seen.formUnion(relevant) }
                return seen.isDisjoint(with: relevant)
            }
            if !partners.isEmpty, isUnique, group.count <= largestGroup { return group }
        }
        return nil
    }
}
