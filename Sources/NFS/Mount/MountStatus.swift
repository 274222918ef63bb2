import Datastore

/// `mountstat3`: how MNT ended (RFC 1813 appendix I).
enum MountStatus: UInt32 {
    case ok = 0
    case notOwner = 1
    case noEntry = 2
    case io = 5
    case access = 13
    case notDirectory = 20
    case invalidArgument = 22
    case nameTooLong = 63
    case notSupported = 10004
    case serverFault = 10006
}

extension MountStatus {
    /// The status that tells a client what `error` says; what MOUNT has no word for is the server's fault.
    init(_ error: DatastoreError) {
        self =
            switch error.code {
            case .notOwner: .notOwner
            case .noEntry, .stale: .noEntry
            case .io, .noDevice: .io
            case .access: .access
            case .notDirectory: .notDirectory
            case .invalidArgument: .invalidArgument
            case .nameTooLong: .nameTooLong
            case .notSupported: .notSupported
            default: .serverFault
            }
    }
}
