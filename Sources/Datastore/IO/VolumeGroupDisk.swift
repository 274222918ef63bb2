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
        let lacking = disks.indices.filter { !disks[$0].volumes.missing.isEmpty }
        guard !lacking.isEmpty else { return nil }
        // A tenant may have thousands of such disks: each is not compared with each.
        var holders: [Substring: [String: [Int]]] = [:]
        for (number, disk) in disks.enumerated() {
            let directory = disk.directory
            for volume in disk.volumes.present { holders[directory, default: [:]][volume, default: []].append(number) }
        }
        for number in lacking {
            let volumes = disks[number].volumes
            let known = holders[disks[number].directory] ?? [:]
            let relevant = [volumes.missing, volumes.present].joined()
            let isUnique = relevant.allSatisfy { known[$0, default: []].count <= 1 }
            guard isUnique else { continue }
            let partners = Set(volumes.missing.compactMap { known[$0]?.first })
            guard !partners.isEmpty, partners.count < largestGroup else { continue }
            return (partners + [number]).sorted { disks[$0].path < disks[$1].path }
        }
        return nil
    }
}
