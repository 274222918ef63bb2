/// A volume group, as the text of its metadata describes it.
struct LVMVolumeGroup {
    /// A physical volume of the group.
    struct PhysicalVolume {
        /// The identifier, without dashes.
        let identifier: String
        /// Where the first extent begins, in bytes of the physical volume.
        let extentsOffset: Int
        /// How many extents it has.
        let extentCount: Int
    }

    /// A run of extents of a logical volume.
    struct Segment {
        /// Where the extents are.
        enum Kind {
            /// In turns of `stripeSize` bytes on each of the columns, or all on the only one.
            case striped(columns: [Column], stripeSize: Int)
            /// Kept in a way that is not understood.
            case unsupported(type: String)
        }

        /// The name that the metadata gives to a physical volume, and an extent on it.
        struct Column {
            let physicalVolume: String
            let firstExtent: Int
        }

        let firstExtent: Int
        let extentCount: Int
        let kind: Kind
    }

    /// A logical volume.
    struct LogicalVolume {
        let name: String
        /// Whether users see it; parts of other volumes are hidden.
        let isVisible: Bool
        /// The segments in the order of the volume, or what is wrong with them.
        let segments: Result<[Segment], Fault>
    }

    /// What is wrong with the description.
    struct Fault: Error {
        let message: String
    }

    let name: String
    let identifier: String
    let sequenceNumber: Int
    /// The size of an extent, in bytes.
    let extentSize: Int
    let physicalVolumes: [String: PhysicalVolume]
    let logicalVolumes: [LogicalVolume]
    /// The names of logical volumes that hold what a snapshot keeps back: they are no volumes of their own.
    let snapshotStores: Set<String>

    /// Reads the group in `text`, which has one section at its top.
    init(parsing text: LVMText.Section) throws(Fault) {
        let groups = text.entries.filter { $0.value.section != nil }
        guard let group = groups.first, groups.count == 1, let section = group.value.section else {
            throw Fault(message: "\(groups.count) volume groups in the metadata, expected 1")
        }
        name = group.name
        guard let identifier = section["id"]?.string else {
            throw Fault(message: "volume group \(name.printable) has no id")
        }
        self.identifier = identifier
        sequenceNumber = try Self.integer("seqno", of: section, in: name, atLeast: 0)
        let sectors = try Self.integer("extent_size", of: section, in: name, atLeast: 1)
        extentSize = try Self.product(sectors, Self.sectorLength, "extent_size", in: name)
        var physicalVolumes: [String: PhysicalVolume] = [:]
        for entry in section["physical_volumes"]?.section?.entries ?? [] {
            guard let description = entry.value.section else { continue }
            physicalVolumes[entry.name] = try Self.physicalVolume(description, named: entry.name)
        }
        self.physicalVolumes = physicalVolumes
        let descriptions = section["logical_volumes"]?.section?.entries ?? []
        logicalVolumes = descriptions.compactMap { entry in
            entry.value.section.map { Self.logicalVolume($0, named: entry.name) }
        }
        snapshotStores = Set(
            descriptions.flatMap { $0.value.section?.entries ?? [] }.compactMap { segment in
                let segment = segment.value.section
                return (segment?["cow_store"] ?? segment?["merging_store"])?.string
            })
    }

    /// The unit of sizes in the text, in bytes, whatever the sectors of the disk.
    private static var sectorLength: Int { 512 }

    private static func physicalVolume(
        _ section: LVMText.Section, named name: String
    ) throws(Fault) -> PhysicalVolume {
        guard let identifier = section["id"]?.string else {
            throw Fault(message: "physical volume \(name.printable) has no id")
        }
        let start = try integer("pe_start", of: section, in: name, atLeast: 0)
        return PhysicalVolume(
            identifier: identifier.filter { $0 != "-" },
            extentsOffset: try product(start, sectorLength, "pe_start", in: name),
            extentCount: try integer("pe_count", of: section, in: name, atLeast: 0))
    }

    private static func logicalVolume(_ section: LVMText.Section, named name: String) -> LogicalVolume {
        let isVisible = section["status"]?.list?.contains(.string("VISIBLE")) ?? false
        let segments = Result<[Segment], Fault> { () throws(Fault) in
            var segments: [Segment] = []
            for entry in section.entries {
                guard let description = entry.value.section else { continue }
                segments.append(try segment(description, named: "\(name)/\(entry.name)"))
            }
            let expected = try integer("segment_count", of: section, in: name, atLeast: 1)
            guard segments.count == expected else {
                throw Fault(message: "\(segments.count) segments, expected the \(expected) of segment_count")
            }
            return segments.sorted { $0.firstExtent < $1.firstExtent }
        }
        return LogicalVolume(name: name, isVisible: isVisible, segments: segments)
    }

    private static func segment(_ section: LVMText.Section, named name: String) throws(Fault) -> Segment {
        let firstExtent = try integer("start_extent", of: section, in: name, atLeast: 0)
        let extentCount = try integer("extent_count", of: section, in: name, atLeast: 1)
        guard let type = section["type"]?.string else { throw Fault(message: "\(name.printable) has no type") }
        guard type == "striped" || type == "linear" else {
            return Segment(firstExtent: firstExtent, extentCount: extentCount, kind: .unsupported(type: type))
        }
        let count = try integer("stripe_count", of: section, in: name, atLeast: 1)
        let list = section["stripes"]?.list ?? []
        guard list.count.isMultiple(of: 2), list.count / 2 == count else {
            throw Fault(
                message: "\(name.printable): \(list.count) members of stripes, expected two for each of \(count)")
        }
        var columns: [Segment.Column] = []
        for index in 0..<count {
            guard let physicalVolume = list[2 * index].string, let extent = list[2 * index + 1].integer, extent >= 0
            else {
                throw Fault(message: "\(name.printable): stripe \(index) is not a physical volume and an extent")
            }
            columns.append(Segment.Column(physicalVolume: physicalVolume, firstExtent: extent))
        }
        var stripeSize = 0
        if count > 1 {
            let sectors = try integer("stripe_size", of: section, in: name, atLeast: 1)
            stripeSize = try product(sectors, sectorLength, "stripe_size", in: name)
        }
        let kind = Segment.Kind.striped(columns: columns, stripeSize: stripeSize)
        return Segment(firstExtent: firstExtent, extentCount: extentCount, kind: kind)
    }

    private static func integer(
        _ key: String, of section: LVMText.Section, in name: String, atLeast minimum: Int
    ) throws(Fault) -> Int {
        guard let value = section[key] else { throw Fault(message: "\(name.printable) has no \(key)") }
        guard let number = value.integer, number >= minimum else {
            throw Fault(message: "\(name.printable): \(key) is \(value.shortText), expected a number from \(minimum)")
        }
        return number
    }

    private static func product(_ value: Int, _ unit: Int, _ key: String, in name: String) throws(Fault) -> Int {
        let (product, overflow) = value.multipliedReportingOverflow(by: unit)
        guard !overflow else {
            throw Fault(message: "\(name.printable): \(key) is \(value) sectors, more than any disk has")
        }
        return product
    }
}

extension LVMText.Value {
    /// The value for a message.
    fileprivate var shortText: String {
        switch self {
        case .string(let text): "\"\(text.prefix(40).description.printable)\""
        case .integer(let number): String(number)
        case .other(let text): text.prefix(40).description.printable
        case .list: "an array"
        case .section: "a section"
        }
    }
}
