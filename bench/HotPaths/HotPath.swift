public import TestBed

/// Something that the server does for every call or every block, to be counted and timed by itself.
public struct HotPath: Sendable {
    /// Which it is, by the name under which it is counted.
    public enum Kind: String, CaseIterable, Sendable {
        /// A READ of 4 KiB that the cache has; whole calls over a socket, these four.
        case cachedRead = "read-cached"
        /// An UNSTABLE WRITE of 4 KiB to a guest's file.
        case dataWrite = "write-data"
        /// A GETATTR.
        case attributes = "getattr"
        /// A LOOKUP.
        case lookup = "lookup"
        /// Telling the class of a block of data that is written, and taking note of it.
        case classifiedData = "classify-data"
        /// The same for a block of an inode table.
        case classifiedInodeTable = "classify-inode-table"
        /// The class of a block that is read.
        case classOfBlock = "class-of-block"
        /// A write of 4 KiB that the redirect log takes.
        case redirectedWrite = "redirect-write"
    }

    /// Which it is.
    public let kind: Kind
    /// Brings it into the state that it is measured in; costs what it costs.
    private let prepare: @Sendable () throws -> Void
    private let body: @Sendable (Int) throws -> Void

    init(
        _ kind: Kind, prepare: @escaping @Sendable () throws -> Void = {},
        _ body: @escaping @Sendable (Int) throws -> Void
    ) {
        self.kind = kind
        self.prepare = prepare
        self.body = body
    }

    /// Does it `count` times, and calls `begin` and `end` right before and after.
    public func run(_ count: Int, begin: () -> Void = {}, end: () -> Void = {}) throws {
        try prepare()
        begin()
        try body(count)
        end()
    }

    /// All of them, each warm: what is made once was made. The server that some need lives until `bed` is torn down.
    public static func all(on bed: Bed) async throws -> [HotPath] {
        let temporary = try TemporaryDirectory(on: bed)
        let export = try temporary.makeDirectory("export")
        let image = try KnownImage(at: KnownImage.make(at: "\(export)/disk.img", in: temporary))
        let server = try await LoopbackServer(
            export: export, state: temporary.file("state"), file: "disk.img")
        bed.register("stop the server") { () throws(TestBedError) in server.stop() }
        let log = try RedirectedWrites(in: try temporary.makeDirectory("log"))
        let paths = server.paths(data: image.offsets(of: .data)) + image.paths + [log.path]
        for path in paths { try path.run(2000) }
        return paths
    }
}
