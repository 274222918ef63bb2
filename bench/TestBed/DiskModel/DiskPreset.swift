/// The drives that the model comes with.
public enum DiskPreset: String, CaseIterable, Sendable {
    /// Fujitsu MHZ2250B: the paper's disk.
    case mhz2250b
    /// A nearline disk with 7200 rpm.
    case nearline7200 = "nearline-7200"
    /// Intel X25-M: the paper's SSD.
    case x25m
    /// A data-centre NVMe disk.
    case nvme
    /// A disk that takes no time: the floor that no server gets below.
    case none

    /// What the drive is like.
    public var drive: Drive {
        switch self {
        case .mhz2250b: .mechanical(.mhz2250b)
        case .nearline7200: .mechanical(.nearline7200)
        case .x25m: .solidState(.x25m)
        case .nvme: .solidState(.nvme)
        case .none: .instant(capacity: DiskParameters.mhz2250b.capacity)
        }
    }

    /// What the drive's maker says; a mechanical disk's data sheet tells seek and revolution, not operations a second.
    public var dataSheet: [DiskFigure: Double] {
        switch self {
        case .mhz2250b: [.randomReads: 1000 / (12 + 5.56), .sequentialReads: 65, .sequentialWrites: 65]
        case .nearline7200: [.randomReads: 1000 / (8.5 + 4.16), .sequentialReads: 175, .sequentialWrites: 175]
        case .x25m:
            [
                .randomReads: 1e6 / 85, .queuedRandomReads: 35_000, .queuedRandomWrites: 3_300,
                .sequentialReads: 250, .sequentialWrites: 70,
            ]
        case .nvme:
            [
                .randomReads: 1e6 / 77, .queuedRandomReads: 465_000, .queuedRandomWrites: 70_000,
                .sequentialReads: 2850, .sequentialWrites: 1100,
            ]
        case .none: [:]
        }
    }
}
