import BlockStorage

extension LayoutReader {
    /// The visible logical volumes of the groups that `physicalVolumes` belong to, whole or degraded.
    ///
    /// A logical volume of which nothing is on this disk is only reported.
    mutating func logicalVolumes(on physicalVolumes: [LVMPhysicalVolume]) -> [Volume] {
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
        let descriptions = newestDescriptions(of: physicalVolumes)
        reportOrphans(among: physicalVolumes, of: descriptions)
        var volumes: [Volume] = []
        var names: Set<String> = []
        for description in descriptions {
            for logicalVolume in description.group.logicalVolumes where logicalVolume.isVisible {
                let name = "\(description.group.name)/\(logicalVolume.name)".printable
                guard names.insert(name).inserted else {
                    report(description.offset, "\(name): a second logical volume of this name; left out")
                    continue
                }
                let assembly = LogicalVolumeAssembly(
                    logicalVolume, of: description.group, named: name, places: places)
                assembly.problems.forEach { report(description.offset, "\(name): \($0)") }
                if let volume = assembly.volume { volumes.append(volume) }
            }
        }
        return volumes
    }

    /// The description with the highest sequence number of each group, in the order in which the groups were found.
    private mutating func newestDescriptions(
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
                "LVM2 metadata of \(old.group.name.printable) with seqno \(old.group.sequenceNumber), expected the"
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

/// A logical volume put together from the physical volumes that are on the disk.
private struct LogicalVolumeAssembly {
    /// The volume; nil when nothing of it is on the disk.
    private(set) var volume: Volume?
    /// Why it is not whole.
    private(set) var problems: [String] = []

    private let group: LVMVolumeGroup
    private let places: [String: LVMPhysicalVolume]

    init(
        _ logicalVolume: LVMVolumeGroup.LogicalVolume, of group: LVMVolumeGroup, named name: String,
        places: [String: LVMPhysicalVolume]
    ) {
        self.group = group
        self.places = places
        guard !group.snapshotStores.contains(logicalVolume.name) else {
            problems.append("holds the blocks of a snapshot, which is not understood; left out")
            return
        }
        switch logicalVolume.segments {
        case .failure(let fault):
            problems.append("\(fault.message); left out")
        case .success(let segments):
            do throws(LVMVolumeGroup.Fault) {
                let (mapped, size) = try map(segments)
                guard !mapped.isEmpty else { return }
                guard let map = VolumeMap(segments: mapped) else {
                    throw LVMVolumeGroup.Fault(message: "its segments share extents, expected none that do")
                }
                volume = Volume(name: name, size: size, map: map)
            } catch {
                problems.append("\(error.message); left out")
            }
        }
    }

    /// The segments that are on the disk, and the size of the whole volume in bytes.
    private mutating func map(
        _ segments: [LVMVolumeGroup.Segment]
    ) throws(LVMVolumeGroup.Fault) -> (mapped: [VolumeMap.Segment], size: Int) {
        var mapped: [VolumeMap.Segment] = []
        var nextExtent = 0
        for segment in segments {
            guard segment.firstExtent == nextExtent else {
                throw LVMVolumeGroup.Fault(
                    message: "a segment starts at extent \(segment.firstExtent), expected \(nextExtent)")
            }
            let (end, overflow) = nextExtent.addingReportingOverflow(segment.extentCount)
            guard !overflow, end <= Int.max / group.extentSize else {
                throw LVMVolumeGroup.Fault(
                    message: "\(segment.extentCount) extents of \(group.extentSize) bytes, more than any disk has")
            }
            nextExtent = end
            do throws(LVMVolumeGroup.Fault) {
                mapped.append(try map(segment))
            } catch {
                problems.append("degraded, from byte \(segment.firstExtent * group.extentSize): \(error.message)")
            }
        }
        return (mapped, nextExtent * group.extentSize)
    }

    private func map(_ segment: LVMVolumeGroup.Segment) throws(LVMVolumeGroup.Fault) -> VolumeMap.Segment {
        let length = segment.extentCount * group.extentSize
        switch segment.kind {
        case .unsupported(let type):
            throw LVMVolumeGroup.Fault(
                message: "segment type \(type.printable) is not understood, expected striped or linear")
        case .striped(let columns, let stripeSize):
            guard segment.extentCount.isMultiple(of: columns.count) else {
                throw LVMVolumeGroup.Fault(
                    message: "\(segment.extentCount) extents, expected a multiple of \(columns.count) stripes")
            }
            let extents = segment.extentCount / columns.count
            let stripe = columns.count == 1 ? length : stripeSize
            guard (length / columns.count).isMultiple(of: stripe) else {
                throw LVMVolumeGroup.Fault(
                    message: "stripes of \(stripeSize) bytes, expected a divisor of \(length / columns.count)")
            }
            var offsets: [Int] = []
            for column in columns {
                offsets.append(try diskOffset(of: column, extentCount: extents))
            }
            return VolumeMap.Segment(
                volumeOffset: segment.firstExtent * group.extentSize, length: length, columns: offsets,
                stripeSize: stripe)
        }
    }

    /// Where on the disk `extentCount` extents from the one that `column` names begin.
    private func diskOffset(
        of column: LVMVolumeGroup.Segment.Column, extentCount: Int
    ) throws(LVMVolumeGroup.Fault) -> Int {
        let name = column.physicalVolume.printable
        guard let physicalVolume = group.physicalVolumes[column.physicalVolume] else {
            throw LVMVolumeGroup.Fault(message: "physical volume \(name) is not in the group's list")
        }
        guard let place = places[physicalVolume.identifier] else {
            throw LVMVolumeGroup.Fault(
                message: "physical volume \(name) (\(physicalVolume.identifier.printable)) is not on this disk")
        }
        guard column.firstExtent <= physicalVolume.extentCount,
            extentCount <= physicalVolume.extentCount - column.firstExtent
        else {
            throw LVMVolumeGroup.Fault(
                message: "\(extentCount) extents from \(column.firstExtent) of \(name), expected them among its"
                    + " \(physicalVolume.extentCount)")
        }
        let (start, overflow) = column.firstExtent.multipliedReportingOverflow(by: group.extentSize)
        guard !overflow, physicalVolume.extentsOffset <= place.range.length,
            start <= place.range.length - physicalVolume.extentsOffset,
            extentCount * group.extentSize <= place.range.length - physicalVolume.extentsOffset - start
        else {
            throw LVMVolumeGroup.Fault(
                message: "\(extentCount) extents from \(column.firstExtent) of \(name) lie past the end of"
                    + " \(place.placeName), which has \(place.range.length) bytes")
        }
        return place.range.offset + physicalVolume.extentsOffset + start
    }
}
