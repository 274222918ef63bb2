import Datastore

/// `nfsstat3`: how a call ended (RFC 1813 section 2.6).
enum NFSStatus: UInt32, Sendable {
    case ok = 0
    case notOwner = 1
    case noEntry = 2
    case io = 5
    case noDevice = 6
    case access = 13
    case exists = 17
    case crossDevice = 18
    case notDirectory = 20
    case isDirectory = 21
    case invalidArgument = 22
    case fileTooBig = 27
    case noSpace = 28
    case readOnly = 30
    case tooManyLinks = 31
    case nameTooLong = 63
    case notEmpty = 66
    case quota = 69
    case stale = 70
    case badHandle = 10001
    case notSync = 10002
    case badCookie = 10003
    case notSupported = 10004
    case tooSmall = 10005
    case serverFault = 10006
    case badType = 10007
    case retryLater = 10008
    /// Stands in for a status, and is never sent: the connection is closed instead.
    case noAnswer = 0xffff_ffff
}

extension NFSStatus {
    /// The status that tells a client what `error` says.
    init(_ error: DatastoreError) {
        self =
            switch error.code {
            case .notOwner: .notOwner
            case .noEntry: .noEntry
            case .io: .io
            case .noDevice: .noDevice
            case .access: .access
            case .exists: .exists
            case .crossDevice: .crossDevice
            case .notDirectory: .notDirectory
            case .isDirectory: .isDirectory
            case .invalidArgument: .invalidArgument
            case .fileTooBig: .fileTooBig
            case .noSpace: .noSpace
            case .readOnly: .readOnly
            case .tooManyLinks: .tooManyLinks
            case .nameTooLong: .nameTooLong
            case .notEmpty: .notEmpty
            case .quota: .quota
            case .stale: .stale
            case .badHandle: .badHandle
            case .notSync: .notSync
            case .badCookie: .badCookie
            case .notSupported: .notSupported
            case .tooSmall: .tooSmall
            case .serverFault: .serverFault
            case .badType: .badType
            case .retryLater: .retryLater
            case .storeLost: .noAnswer
            }
    }
}
