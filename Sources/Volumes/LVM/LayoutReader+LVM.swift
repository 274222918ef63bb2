import BlockStorage

extension LayoutReader {
    /// The visible logical volumes of the groups that `physicalVolumes` belong to, whole or degraded.
    ///
    /// A logical volume of which nothing is on this disk is only reported.
    mutating func logicalVolumes(
        of descriptions: [LVMPhysicalVolume.Description], on physicalVolumes: [LVMPhysicalVolume]
    ) -> [Volume] {
        var places: [String: LVMPhysicalVolume] = [:]
        for physicalVolume in physicalVolumes {
            if let other = places[physicalVolume.identifier] {
                report(
                    physicalVolume.range.offset,
                    "\(physicalVolume.placeName): LVM2 physical volume \(physicalVolume.identifier) is also on"
                        + " \(other.placeName), expected once; this one is left out")
            } else {
                places[physicalVolume.identifier] = physicalVolume
            }
        }
        reportOrphans(among: physicalVolumes, of: descriptions)
        var volumes: [Volume] = []
        var names: Set<String> = []
        var budget = LogicalVolumeAssembly.largestBudget
        for description in descriptions {
            let group = description.group
            for logicalVolume in group.logicalVolumes where logicalVolume.isVisible {
                let name = printable("\(group.name)/\(logicalVolume.name)")
                guard names.insert(name).inserted else {
                    report(description.offset, "\(name): a second logical volume of this name; left out")
                    continue
                }
                var assembly = LogicalVolumeAssembly(of: group, places: places, budget: budget)
                if let volume = assembly.volume(of: logicalVolume, named: name) { volumes.append(volume) }
                assembly.problems.forEach { report(description.offset, "\(name): \($0)") }
                budget = assembly.budget
            }
            for name in group.metadataVolumes.sorted() {
                var assembly = LogicalVolumeAssembly(of: group, places: places, budget: budget)
                guard let logicalVolume = group.logicalVolume(named: name) else { continue }
                let volume = assembly.volume(of: logicalVolume, named: name)
                // Also for those of which nothing is to be had: there may be any number.
                budget = assembly.budget
                volume?.map.diskRanges.forEach { addStructure($0, .lvmSubvolume) }
            }
        }
        return volumes
    }

    /// The description with the highest sequence number of each group, in the order in which the groups were found.
    mutating func newestDescriptions(
        of physicalVolumes: [LVMPhysicalVolume]
    ) -> [LVMPhysicalVolume.Description] {
        var newest: [LVMPhysicalVolume.Description] = []
        var indices: [String: Int] = [:]
        for description in physicalVolumes.flatMap(\.descriptions) {
            guard let index = indices[description.group.identifier] else {
                indices[description.group.identifier] = newest.count
                newest.append(description)
                continue
            }
            let known = newest[index]
            guard known.group.sequenceNumber != description.group.sequenceNumber else { continue }
            let isNewer = description.group.sequenceNumber > known.group.sequenceNumber
            let (old, new) = isNewer ? (known, description) : (description, known)
            newest[index] = new
            report(
                old.offset,
                "LVM2 metadata of \(printable(old.group.name)) with seqno \(old.group.sequenceNumber), expected the"
                    + " \(new.group.sequenceNumber) found at \(new.offset); the older one is ignored")
        }
        return newest
    }

    private mutating func reportOrphans(
        among physicalVolumes: [LVMPhysicalVolume], of descriptions: [LVMPhysicalVolume.Description]
    ) {
        let members = Set(descriptions.flatMap { $0.group.physicalVolumes.values.map(\.identifier) })
        for physicalVolume in physicalVolumes where !members.contains(physicalVolume.identifier) {
            report(
                physicalVolume.range.offset,
                "\(physicalVolume.placeName): LVM2 physical volume \(physicalVolume.identifier) belongs to no volume"
                    + " group, expected metadata that lists it")
        }
    }
}
