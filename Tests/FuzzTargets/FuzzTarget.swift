import Foundation

/// A parser of bytes that a guest, a client or whoever made an image wrote, as fuzzers feed it.
///
/// An input that breaks a promise stops the process. Inputs of one target are run one after the other.
public struct FuzzTarget: Sendable, CustomStringConvertible {
    /// The name of its fuzzer in `Fuzz/Package.swift`.
    public let name: String
    /// The name.
    public var description: String { name }
    /// Runs one input.
    public let run: @Sendable (UnsafeRawBufferPointer) -> Void

    /// A target of that name.
    public init(_ name: String, run: @escaping @Sendable (UnsafeRawBufferPointer) -> Void) {
        self.name = name
        self.run = run
    }

    /// The directory with the inputs that are checked in: seeds, and what once went wrong.
    public var corpus: URL { Self.corpora.appending(path: name) }

    static let corpora = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "Fixtures/corpus")
}

extension FuzzTarget {
    /// ext2, ext3 and ext4: scanned, and changed by writes afterwards.
    public static let ext = FuzzTarget("fuzz-ext", run: fuzzExt)
    /// The blocks of a journal of ext3 or ext4.
    public static let journal = FuzzTarget("fuzz-journal", run: fuzzJournal)
    /// LVM labels and metadata.
    public static let lvm = FuzzTarget("fuzz-lvm", run: fuzzLVM)
    /// Partition tables: MBR, EBR, GPT.
    public static let partition = FuzzTarget("fuzz-partition", run: fuzzPartition)
    /// A redirect log's superblock and records.
    public static let redirectLog = FuzzTarget("fuzz-redirect-log", run: fuzzRedirectLog)
    /// VMDK descriptors.
    public static let vmdk = FuzzTarget("fuzz-vmdk", run: fuzzVMDK)

    /// Everything that is in disk images.
    public static let imageParsers = [ext, journal, lvm, partition, vmdk]
    /// What the server itself has written to a device that may have changed it.
    public static let deviceParsers = [redirectLog]
}
