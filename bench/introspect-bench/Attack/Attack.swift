import ArgumentParser

/// What one client does to a server to the harm of others, within bounds of number and time.
enum Attack: String, Codable, CaseIterable, ExpressibleByArgument {
    /// Nothing: what the polite clients see when they are alone.
    case none
    /// READs of 1 MiB, 256 on each of eight connections, whose replies nobody reads.
    case unreadReads = "unread-reads"
    /// WRITEs of 1 MiB on 40 connections.
    case writes
    /// READDIRPLUS calls that ask for 4 GiB, 256 at a time on each of eight connections.
    case listings
    /// Stable WRITEs of 1,000 bytes to one page, 64 at a time.
    case smallWrites = "small-writes"
    /// 1,100 connections that do nothing.
    case idleConnections = "idle-connections"
    /// 5,000 connections one after the other, each with a record that makes no sense.
    case nonsense
    /// MNT calls with paths of 1 MiB, on 40 connections.
    case mounts

    var title: String {
        switch self {
        case .none: "none"
        case .unreadReads: "8 × 256 READs of 1 MiB, unread"
        case .writes: "WRITEs of 1 MiB on 40 connections"
        case .listings: "8 × 256 READDIRPLUS of 4 GiB"
        case .smallWrites: "64 stable WRITEs of 1,000 bytes to a page"
        case .idleConnections: "1,100 idle connections"
        case .nonsense: "5,000 connections with nonsense"
        case .mounts: "40 MNTs of 1 MiB"
        }
    }
}
