import BlockStorage

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
            /// On each of the legs.
            case mirrored(legs: [Column])
            /// In the same place of another logical volume, of which some may be newer elsewhere.
            case cached(origin: Column)
            /// Kept in a way that is not mapped.
            case unsupported(reason: String)
        }

        /// The name of a physical or logical volume, and an extent on it.
        struct Column {
            let volume: String
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
    private let numbersByName: [String: Int]
    /// The names of logical volumes that hold what a snapshot keeps back: they are no volumes of their own.
    let snapshotStores: Set<String>
    /// The names of logical volumes that hold the metadata of others.
    let metadataVolumes: Set<String>

    /// Reads the group in `text`, which has one section at its top.
    init(parsing text: LVMText.Section) throws(Fault) {
        let groups = text.entries.filter { $0.value.section != nil }
        guard let group = groups.first, groups.count == 1, let section = group.value.section else {
            throw Fault(message: "\(groups.count) volume groups in the metadata, expected 1")
        }
        name = group.name
        guard let identifier = section["id"]?.string else {
            throw Fault(message: "volume group \(printable(name)) has no id")
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
        numbersByName = Dictionary(
            logicalVolumes.enumerated().map { ($1.name, $0) }, uniquingKeysWith: { first, _ in first })
        let segments = descriptions.flatMap { $0.value.section?.entries ?? [] }.compactMap(\.value.section)
        snapshotStores = Set(segments.compactMap { ($0["cow_store"] ?? $0["merging_store"])?.string })
        metadataVolumes = Set(
            segments.flatMap { segment in
                let raids = segment["raids"]?.list ?? []
                return stride(from: 0, to: raids.count, by: 2).compactMap { raids[$0].string }
                    + ["metadata", "mirror_log"].compactMap { segment[$0]?.string }
            })
    }

    /// The first logical volume of this name.
    func logicalVolume(named name: String) -> LogicalVolume? {
        numbersByName[name].map { logicalVolumes[$0] }
    }

    /// The unit of sizes in the text, in bytes, whatever the sectors of the disk.
    private static var sectorLength: Int { 512 }

    private static func physicalVolume(
        _ section: LVMText.Section, named name: String
    ) throws(Fault) -> PhysicalVolume {
        guard let identifier = section["id"]?.string else {
            throw Fault(message: "physical volume \(printable(name)) has no id")
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
        guard let type = section["type"]?.string else { throw Fault(message: "\(printable(name)) has no type") }
        let kind = try kind(of: section, type: String(type.prefix { $0 != "+" }), named: name)
        return Segment(firstExtent: firstExtent, extentCount: extentCount, kind: kind)
    }

    /// How the extents of the segment `section` are kept; flags are cut off `type`.
    private static func kind(
        of section: LVMText.Section, type: String, named name: String
    ) throws(Fault) -> Segment.Kind {
        switch type {
        case "striped", "linear":
            let list = section["stripes"]?.list ?? []
            return try striped(section, columns: columns(list, "stripes", named: name), named: name)
        case "raid0", "raid0_meta":
            let list = section["raid0_lvs"]?.list ?? images(of: section)
            return try striped(section, columns: wholeVolumes(list, "raid0_lvs", named: name), named: name)
        case "mirror":
            return .mirrored(legs: try columns(section["mirrors"]?.list ?? [], "mirrors", named: name))
        case "raid1":
            return .mirrored(legs: try wholeVolumes(images(of: section), "raids", named: name))
        case "cache", "writecache", "integrity":
            guard let origin = section["origin"]?.string else {
                throw Fault(message: "\(printable(name)) has no origin")
            }
            return .cached(origin: Segment.Column(volume: origin, firstExtent: 0))
        case "snapshot":
            let (store, origin) = (section["cow_store"]?.string, section["origin"]?.string)
            return .unsupported(
                reason:
                    "\(printable(store ?? "it")) is a snapshot of \(printable(origin ?? "?")): what it keeps back is not"
                    + " mapped")
        case "thin", "thin-pool":
            return .unsupported(reason: "a \(type) volume: which blocks of its pool it has is not mapped")
        default:
            return .unsupported(reason: "segment type \(printable(type)) is not mapped")
        }
    }

    private static func striped(
        _ section: LVMText.Section, columns: [Segment.Column], named name: String
    ) throws(Fault) -> Segment.Kind {
        let count = try integer("stripe_count", of: section, in: name, atLeast: 1)
        guard columns.count == count else {
            throw Fault(message: "\(printable(name)): \(columns.count) stripes, expected the \(count) of stripe_count")
        }
        guard count > 1 else { return .striped(columns: columns, stripeSize: 0) }
        let sectors = try integer("stripe_size", of: section, in: name, atLeast: 1)
        return .striped(columns: columns, stripeSize: try product(sectors, sectorLength, "stripe_size", in: name))
    }

    /// The data of a RAID: every second member of `raids`, the others hold its metadata.
    private static func images(of section: LVMText.Section) -> [LVMText.Value] {
        let raids = section["raids"]?.list ?? []
        return stride(from: 1, to: raids.count, by: 2).map { raids[$0] }
    }

    /// Names of logical volumes that are members as a whole.
    private static func wholeVolumes(
        _ list: [LVMText.Value], _ key: String, named name: String
    ) throws(Fault) -> [Segment.Column] {
        try columns(list.flatMap { [$0, .integer(0)] }, key, named: name)
    }

    /// Names of volumes, and extents of them.
    private static func columns(
        _ list: [LVMText.Value], _ key: String, named name: String
    ) throws(Fault) -> [Segment.Column] {
        guard list.count.isMultiple(of: 2), !list.isEmpty else {
            throw Fault(
                message: "\(printable(name)): \(list.count) members of \(key), expected a volume and an extent each")
        }
        var columns: [Segment.Column] = []
        for index in 0..<list.count / 2 {
            guard let volume = list[2 * index].string, let extent = list[2 * index + 1].integer, extent >= 0 else {
                throw Fault(message: "\(printable(name)): member \(index) of \(key) is not a volume and an extent")
            }
            columns.append(Segment.Column(volume: volume, firstExtent: extent))
        }
        return columns
    }

    private static func integer(
        _ key: String, of section: LVMText.Section, in name: String, atLeast minimum: Int
    ) throws(Fault) -> Int {
        guard let value = section[key] else { throw Fault(message: "\(printable(name)) has no \(key)") }
        guard let number = value.integer, number >= minimum else {
            throw Fault(message: "\(printable(name)): \(key) is \(value.shortText), expected a number from \(minimum)")
        }
        return number
    }

    private static func product(_ value: Int, _ unit: Int, _ key: String, in name: String) throws(Fault) -> Int {
        let (product, overflow) = value.multipliedReportingOverflow(by: unit)
        guard !overflow else {
            throw Fault(message: "\(printable(name)): \(key) is \(value) sectors, more than any disk has")
        }
        return product
    }
}

extension LVMText.Value {
    /// The value for a message.
    fileprivate var shortText: String {
        switch self {
        case .string(let text): "\"\(printable(String(text.prefix(40))))\""
        case .integer(let number): String(number)
        case .other(let text): printable(String(text.prefix(40)))
        case .list: "an array"
        case .section: "a section"
        }
    }
}
