/// The two queues in front of the datastore.
///
/// Hypervisors keep locks on virtual disks alive by a GETATTR, a LOOKUP and a WRITE of 84 bytes every few seconds, and
/// take the disk for lost when those are late: so these never stand in line behind bulk data.
enum Lane: Sendable {
    /// READ that missed the cache, WRITE of bulk data, COMMIT.
    case bulk
    /// Names, attributes, and WRITEs so small that they may be a lock's heartbeat.
    case metadata
}
