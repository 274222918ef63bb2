import Introspection

/// The classes of blocks whose writes go to the fast device: the table that decides it.
struct RedirectClasses {
    /// Guest metadata, and the journal that every guest's fsync waits for.
    ///
    /// Not the image format's own structures: those are read by path, also by other programs.
    static let standard = RedirectClasses(classes: [
        .lvmMetadata, .superblock, .groupDescriptor, .blockBitmap, .inodeBitmap, .inodeTable, .directory, .indirect,
        .extendedAttribute, .journal, .symlink, .metadata,
    ])

    let classes: Set<BlockClass>

    func contains(_ blockClass: BlockClass) -> Bool { classes.contains(blockClass) }
}
