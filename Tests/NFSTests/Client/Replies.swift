import RPCGenClient

/// What every result has, in Swift's terms; what does not belong to a procedure stays nil.
struct Reply {
    var status: nfsstat3
    /// The object's handle, where the procedure gives one.
    var handle: Handle?
    /// The object's attributes.
    var attributes: fattr3?
    /// The directory's attributes (LOOKUP).
    var directoryAttributes: fattr3?
    /// The object's or the directory's wcc_data.
    var wcc: wcc_data?
    /// The second directory's wcc_data (RENAME).
    var otherWCC: wcc_data?
}

struct ReadReply {
    var status: nfsstat3
    var attributes: fattr3?
    var count: UInt32 = 0
    var isEndOfFile = false
    var bytes: [UInt8] = []
}

struct WriteReply {
    var status: nfsstat3
    var wcc: wcc_data
    var count: UInt32 = 0
    var committed = UNSTABLE
    var verifier: [UInt8] = []
}

struct DirectoryItem: Hashable {
    var fileid: UInt
    var name: String
    var cookie: UInt
    var handle: Handle?
    var attributes: fattr3?

    static func == (a: Self, b: Self) -> Bool {
        a.fileid == b.fileid && a.name == b.name && a.cookie == b.cookie && a.handle == b.handle
    }

    func hash(into hasher: inout Hasher) {
        hasher.combine(name)
        hasher.combine(cookie)
    }
}

struct DirectoryReply {
    var status: nfsstat3
    var attributes: fattr3?
    var verifier: [UInt8] = []
    var items: [DirectoryItem] = []
    var isEndOfDirectory = false
}

extension post_op_attr {
    var value: fattr3? { attributes_follow != 0 ? post_op_attr_u.attributes : nil }
}

extension pre_op_attr {
    var value: wcc_attr? { attributes_follow != 0 ? pre_op_attr_u.attributes : nil }
}

extension nfstime3: @retroactive Equatable, @retroactive Comparable {
    /// Whether both are the same moment.
    public static func == (a: Self, b: Self) -> Bool {
        a.seconds == b.seconds && a.nseconds == b.nseconds
    }

    /// Whether `a` is earlier.
    public static func < (a: Self, b: Self) -> Bool {
        (a.seconds, a.nseconds) < (b.seconds, b.nseconds)
    }
}

extension sattr3 {
    /// Attributes that change nothing, for the caller to fill in.
    static var unchanged: sattr3 { sattr3() }

    static func mode(_ mode: UInt32) -> sattr3 {
        var attributes = sattr3()
        attributes.mode.set_it = 1
        attributes.mode.set_mode3_u.mode = mode
        return attributes
    }

    static func size(_ size: UInt) -> sattr3 {
        var attributes = sattr3()
        attributes.size.set_it = 1
        attributes.size.set_size3_u.size = size
        return attributes
    }
}
