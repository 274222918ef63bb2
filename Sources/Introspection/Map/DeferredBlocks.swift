/// How a block is classified that was written, or named by a journal, before anything claims it.
///
/// Metadata and what they describe reach the disk in any order, cut and joined at will. So a block that nothing claims
/// is *pending*: its content stays where it was written, and the class waits for what settles it. Each file system of a
/// disk keeps its own pending blocks.
///
///          written                     ┌──────────────┐   inode, indirect block or extent node claims it ► its class
///     free ───────────────────────────►│   pending    │─► bitmap calls it allocated ──────────────────────► data
///      │                               │              │─► bitmaps call it free twice ─────────────────────► free
///      │                               └──────────────┘─► more pending than may be remembered ────────────► free
///      │                                 │          ▲
///      │                     named by a  │          │ its journal is lost or emptied, or revokes it
///      │                     descriptor  ▼          │
///      │ named by a descriptor block   ┌──────────────┐   inode, indirect block or extent node claims it ► its class
///      └──────────────────────────────►│   metadata   │─► its transaction is taken over, nothing claims it ► data
///                                      └──────────────┘   or free, as the bitmap in the same transaction says
///
/// - A claim settles a block whether it comes before the block is written (then it never is pending), with it or
///   after it: from an inode table, an indirect block or an extent node that was written in place, or whose copy in
///   the journal was committed. Directories, blocks of attributes and long symbolic links are claimed by their inode.
/// - A bitmap that calls a block allocated settles it as data, since a claim that follows takes it from there. A
///   bitmap on disk may be older than the block, hence free only counts when it is said twice.
/// - Written in place, metadata has been named by the journal before. So what is only pending in a file system whose
///   journal is followed is data that waits for its commit; what the journal names is metadata, and shown as
///   ``BlockClass/metadata`` until its inode tells the kind. Data that go through the journal are told by what becomes
///   of them: when named blocks turn out to be data, names are not believed until the journal is begun anew.
/// - When a file system has nothing that tells (ext2), its order of writing decides how long blocks wait.
///
/// How many blocks went which way is in ``DiskIntrospector/status``.
enum PendingTag {
    /// How often a written bitmap has called the blocks free since they were written.
    static let passes: UInt32 = 0xff
    /// Set when a journal names the blocks as metadata.
    static let tagged: UInt32 = 0x100
    /// Set when the bitmap called the blocks allocated as the journal named them: they change hands, or are of a file
    /// whose data are journalled, such as one of quotas.
    static let wasData: UInt32 = 0x200
}

/// How many pending blocks were settled since the scan, and how.
struct DeferredBlocks: Hashable, Sendable {
    /// A structure claimed them as metadata.
    var claimed: UInt64 = 0
    /// A bitmap called them allocated, and nothing claimed them.
    var data: UInt64 = 0
    /// Nothing claimed them, and the bitmap went on calling them free.
    var aged: UInt64 = 0
    /// There were too many to remember.
    var forgotten: UInt64 = 0
}
