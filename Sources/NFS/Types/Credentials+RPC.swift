import Datastore
import SunRPC

extension Credentials {
    /// Whom the RPC credential names; AUTH_NONE is nobody.
    init(_ credential: RPCCredential) {
        switch credential {
        case .none: self = .anonymous
        case .system(let user): self.init(uid: user.uid, gid: user.gid, groups: user.groups)
        }
    }
}
