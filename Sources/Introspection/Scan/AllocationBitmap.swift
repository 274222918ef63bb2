import GuestFilesystems

/// Which blocks of a file system are allocated, as its block bitmaps say: a bit a block, and none for groups that
/// are wholly free or wholly in use.
struct AllocationBitmap: Sendable {
    private enum Group: Sendable {
        case free
        case used
        /// A bit for each block.
        case bits([UInt8])

        var byteCount: Int {
            if case .bits(let bytes) = self { bytes.count } else { 0 }
        }
    }

    /// The file system's geometry.
    private let geometry: ExtGeometry
    private var groups: [Group]
    /// Bytes that the bits take.
    private(set) var bitBytes = 0

    /// All groups in use.
    init(geometry: ExtGeometry) {
        self.geometry = geometry
        groups = Array(repeating: .used, count: geometry.groupCount)
    }

    /// Whether `block` is allocated; blocks outside of groups are not.
    func isAllocated(_ block: UInt64) -> Bool {
        guard let group = geometry.group(ofBlock: block) else { return false }
        switch groups[group] {
        case .free: return false
        case .used: return true
        case .bits(let bytes):
            return ExtBitmap.isSet(Int(block - geometry.blocks(ofGroup: group).lowerBound), in: bytes.span.bytes)
        }
    }

    /// Takes a group's bitmap as it is on disk; nil for one that was never written, which has no block in use but
    /// the group's own structures.
    mutating func setGroup(_ group: Int, bitmap bytes: RawSpan?) {
        let old = groups[group]
        if let bytes {
            groups[group] = Self.group(bytes, geometry, group)
        } else {
            groups[group] = .free
        }
        bitBytes += groups[group].byteCount - old.byteCount
    }

    /// Calls `body` with each run of allocated blocks in `range`, in order; runs of two groups are not joined.
    func forEachAllocatedRun(in range: Range<UInt64>, _ body: (Range<UInt64>) -> Void) {
        let range = range.clamped(to: UInt64(geometry.superblock.firstDataBlock)..<geometry.endBlock)
        guard !range.isEmpty, let first = geometry.group(ofBlock: range.lowerBound),
            let last = geometry.group(ofBlock: range.upperBound - 1)
        else { return }
        for group in first...last {
            let blocks = geometry.blocks(ofGroup: group)
            switch groups[group] {
            case .free: continue
            case .used: body(blocks.clamped(to: range))
            case .bits(let bytes):
                ExtBitmap.forEachSetRun(in: bytes.span.bytes, count: blocks.count) { bits in
                    let start = blocks.lowerBound + UInt64(bits.lowerBound)
                    let run = (start..<start + UInt64(bits.count)).clamped(to: range)
                    if !run.isEmpty { body(run) }
                }
            }
        }
    }

    private static func group(_ bytes: RawSpan, _ geometry: ExtGeometry, _ group: Int) -> Group {
        let blockCount = geometry.blocks(ofGroup: group).count
        let bitCount = geometry.blockBitmapBitCount(ofGroup: group)
        switch ExtBitmap.setCount(in: bytes, count: bitCount) {
        case 0: return .free
        case bitCount: return .used
        default: break
        }
        let perCluster = geometry.superblock.blocksPerCluster
        var bits = [UInt8](repeating: 0, count: (blockCount + 7) / 8)
        if perCluster == 1 {
            for index in 0..<min(bits.count, bytes.byteCount) {
                bits[index] = bytes.unsafeLoad(fromByteOffset: index, as: UInt8.self)
            }
            return .bits(bits)
        }
        ExtBitmap.forEachSetRun(in: bytes, count: bitCount) { run in
            for block in run.lowerBound * perCluster..<min(run.upperBound * perCluster, blockCount) {
                bits[block / 8] |= 1 << UInt8(block % 8)
            }
        }
        return .bits(bits)
    }
}
