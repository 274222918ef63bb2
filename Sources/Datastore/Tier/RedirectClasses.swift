public import Introspection

/// The classes of blocks whose writes go to the fast device: the table that decides it.
public struct RedirectClasses: Sendable {
    /// Guest metadata, and the journal that every guest's fsync waits for.
    ///
    /// Not the image format's own structures: those are read by path, also by other programs.
    public static let metadata = RedirectClasses(
        Set(BlockClass.allCases.filter(\.isMetadata)).subtracting([.imageFormat, .partitionTable]))

    /// Contents of files, and what may become such. Streams of them go to the images all the same.
    public static let data = RedirectClasses([.bootFile, .data, .free, .pending])

    private let classes: Set<BlockClass>

    /// The classes in `classes`.
    public init(_ classes: Set<BlockClass>) {
        self.classes = classes
    }

    /// The classes that `names`, with commas between them, stand for: `metadata`, `data`, or names of single classes.
    public init?(names: String) {
        var classes: Set<BlockClass> = []
        for name in names.split(separator: ",") {
            switch name {
            case "metadata": classes.formUnion(Self.metadata.classes)
            case "data": classes.formUnion(Self.data.classes)
            default:
                guard let single = BlockClass.allCases.first(where: { $0.name == name }) else { return nil }
                classes.insert(single)
            }
        }
        self.init(classes)
    }

    func contains(_ blockClass: BlockClass) -> Bool { classes.contains(blockClass) }
}
