import BlockStorage
import Tiering

extension RedirectTier {
    /// How the device does.
    ///
    /// - Parameter find: the path of an image now, where it is known, and why its blocks are out of reach, if that is so.
    func status(_ find: (ImageIdentity) -> (path: ByteString?, failure: String?)) -> TierStatus {
        let state = state.withLock { $0 }
        var status = TierStatus(state: .none, mode: (configuration?.mode ?? .off).rawValue)
        status.modes = configuration?.modes.map { "\($0.pattern)=\($0.mode.rawValue)" } ?? []
        status.directories = configuration?.directories ?? []
        status.failure = state.cause
        let log = state.attachment?.log
        let counts = log?.liveByteCounts ?? [:]
        if let log {
            status.state = log.failure == nil ? .attached : .failed
            status.failure = log.failure.map { "\($0)" } ?? state.cause
            (status.size, status.fullness, status.liveBytes) = (log.size, log.fullness, log.liveByteCount)
        } else if !state.refused.isEmpty || state.areAllRefused {
            status.state = .missing
        } else if state.isDetached {
            status.state = .detached
        }
        let entries = register.images
        let quarantined = entries.filter(\.value.isQuarantined).keys
        for image in Set(counts.keys).union(state.refused.keys).union(quarantined) {
            let (path, failure) = find(image)
            let known = path ?? entries[image]?.path ?? ByteString("")
            var line = TierStatus.Image(
                path: known.bytes.isEmpty ? image.hexadecimal : known.description,
                liveBytes: log == nil ? nil : counts[image, default: 0], isRefused: false)
            line.identity = image.hexadecimal
            line.isOrphaned = failure != nil
            line.isRefused =
                failure != nil && isReplaced(image) || state.refused[image] != nil || !replaced(by: image).isEmpty
                || entries[image].map { $0.isQuarantined || $0.stopped != nil } == true
            line.reason =
                reason(
                    entries[image], failure, isMissing: state.refused[image] != nil, state.cause,
                    isReplaced: isReplaced(image))
                ?? (line.isRefused ? "it has the place of another image: see there" : nil)
                ?? log?.failure.map { "the log has failed (\($0)); tier detach --give-up loses what it cannot give" }
            status.images.append(line)
        }
        status.images.sort { ($0.path, $0.identity) < ($1.path, $1.identity) }
        return status
    }

    private func reason(
        _ entry: RedirectRegister.Entry?, _ failure: String?, isMissing: Bool, _ cause: String?, isReplaced: Bool
    ) -> String? {
        if let failure, isReplaced {
            return
                "\(failure); another file has its place and is refused, have the old one back, or let introspectctl tier "
                + "resolve --keep file lose its blocks and serve the other"
        }
        if let failure { return "\(failure); introspectctl tier forget loses its blocks" }
        if entry?.isQuarantined == true {
            return "another program has changed it; introspectctl tier resolve says whose blocks count"
        }
        if isMissing { return cause ?? "its newest blocks are in a redirect log that is not at hand" }
        guard entry?.stopped != nil else { return nil }
        return "it could not be compared with how it looked when the server stopped"
    }
}
