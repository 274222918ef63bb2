import BlockStorage

/// A physical volume found on the disk, and the volume group that its metadata areas describe.
struct LVMPhysicalVolume {
    /// The partition, or `disk`.
    let placeName: String
    /// Where it is on the disk.
    let range: ByteRange
    /// The identifier, without dashes.
    let identifier: String
    /// What each of its metadata areas that holds any says.
    let descriptions: [Description]

    /// A text of metadata.
    struct Description {
        /// Where the text begins on the disk.
        let offset: Int
        /// The group that it describes.
        let group: LVMVolumeGroup
    }
}

extension LayoutReader {
    /// The physical volume that begins at the start of `place`, or nil when there is none.
    mutating func readPhysicalVolume(
        in place: ByteRange, named name: String
    ) throws(StorageError) -> LVMPhysicalVolume? {
        let start = ByteRange(offset: place.offset, length: min(place.length, LVMLabel.scannedLength))
        guard let bytes = try read(start) else { return nil }
        var labelProblems: [VolumeProblem] = []
        let found = LVMLabel.find(in: bytes, at: place.offset) { labelProblems.append($0) }
        labelProblems.forEach { report($0) }
        guard let label = found else { return nil }
        // Any of the four sectors may hold the next label.
        addStructure(start, .lvmMetadata)
        if label.deviceSize > UInt64(place.length) {
            report(
                place.offset,
                "\(name): LVM2 physical volume of \(label.deviceSize) bytes, expected at most the \(place.length) that are"
                    + " here")
        }
        var descriptions: [LVMPhysicalVolume.Description] = []
        for area in label.metadataAreas {
            if let description = try readMetadataArea(area, of: place, named: name) {
                descriptions.append(description)
            }
        }
        return LVMPhysicalVolume(
            placeName: name, range: place, identifier: label.identifier, descriptions: descriptions)
    }

    /// What the metadata area at `area`, in bytes of the physical volume at `place`, says; nil when it is empty,
    /// ignored, or not usable, which is reported.
    private mutating func readMetadataArea(
        _ area: ByteRange, of place: ByteRange, named name: String
    ) throws(StorageError) -> LVMPhysicalVolume.Description? {
        guard area.end <= place.length, area.length >= LVMMetadataHeader.length else {
            report(
                place.offset,
                "\(name): LVM2 metadata area of \(area.length) bytes at \(area.offset), expected at least"
                    + " \(LVMMetadataHeader.length) bytes inside its \(place.length)")
            return nil
        }
        let onDisk = ByteRange(offset: place.offset + area.offset, length: area.length)
        addStructure(onDisk, .lvmMetadata)
        guard let bytes = try read(ByteRange(offset: onDisk.offset, length: LVMMetadataHeader.length)),
            let header = reporting({ () throws(VolumeProblem) in
                try LVMMetadataHeader(parsing: bytes, area: onDisk, origin: place.offset)
            }),
            let textOffset = header.textRanges.first?.offset
        else { return nil }
        var text: [UInt8] = []
        for range in header.textRanges {
            guard takeMetadataBudget(range.length), let part = try read(range) else { return nil }
            text += part
        }
        var values = metadataValues
        defer { metadataValues = values }
        return reporting { () throws(VolumeProblem) in
            try LVMPhysicalVolume.Description(
                text: text, checksum: header.textChecksum, offset: textOffset, values: &values)
        }
    }

    /// What `body` makes, or nil when it throws a problem, which is then reported.
    private mutating func reporting<Result>(_ body: () throws(VolumeProblem) -> Result) -> Result? {
        do throws(VolumeProblem) {
            return try body()
        } catch {
            report(error)
            return nil
        }
    }
}

extension LVMPhysicalVolume.Description {
    /// Reads the metadata in `text`, which begins at `offset` of the disk.
    fileprivate init(text: [UInt8], checksum: UInt32, offset: Int, values: inout Int) throws(VolumeProblem) {
        func problem(_ message: String) -> VolumeProblem {
            VolumeProblem(offset: offset, message: "LVM2 metadata: " + message)
        }
        let computed = LVMChecksum.of(text[...])
        guard checksum == computed else {
            throw problem("checksum of the text \(computed.hexadecimal), expected \(checksum.hexadecimal)")
        }
        let section: LVMText.Section
        do throws(LVMText.SyntaxError) {
            section = try LVMText.parse(text, values: &values)
        } catch {
            throw problem("byte \(error.position) of the text: \(error.message)")
        }
        do throws(LVMVolumeGroup.Fault) {
            group = try LVMVolumeGroup(parsing: section)
        } catch {
            throw problem(error.message)
        }
        self.offset = offset
    }
}
