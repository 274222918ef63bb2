import Datastore

/// The queues in front of the datastore.
///
/// Hypervisors keep locks on virtual disks alive by a GETATTR, a LOOKUP and a WRITE of 84 bytes every few seconds, and
/// take the disk for lost when those are late: so these never stand in line behind bulk data.
enum Lane: Sendable {
    /// READ that missed the cache, WRITE of bulk data, COMMIT, and what sets a file's size: it waits for WRITEs.
    case bulk
    /// Names and attributes.
    case metadata
    /// SETATTR that leaves the size alone: with names and attributes, as long as there are few such (``FewOfAFile``), for
    /// those of one file wait for one another, and for one that sets the size.
    case attributes(FileHandle)
    /// READDIR and READDIRPLUS: hundreds of names a call, so that a few fill threads on which a LOOKUP waits.
    case listing
    /// A WRITE to a file that is so small that it may be a lock's heartbeat: with names and attributes, as long as there
    /// are few such (``FewOfAFile``).
    case heartbeat(FileHandle)
}
