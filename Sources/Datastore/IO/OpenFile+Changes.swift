import BlockStorage
import Tiering

/// The server's own changes of a file, and how those of other programs are told from them.
extension OpenFile {
    /// A change of ours that is under way.
    struct OwnChange: ~Copyable {
        let ticket: RangeTable.WriteTicket
        /// What the file looked like; nil when other changes were under way.
        let before: FileAttributes?
        /// Somebody else's change that was found and must be dealt with first.
        let external: ExternalChanges.Change?
    }

    /// Notes a change of `range` (whole pages; empty for one that moves times alone) once none of these pages is under
    /// way, and finds out whether another program came before it.
    ///
    /// If it did, the file must not be changed before what is known of its contents is forgotten:
    /// ``OpenFiles/beginChange(of:_:)`` sees to that.
    func beginChange(_ range: ByteRange) -> OwnChange {
        LockRank.willLock(.write)
        var before: FileAttributes?
        let ticket = ranges.beginWrite(range.aligned(to: PageCache.pageSize)) { before = lookAtContents() }
        return OwnChange(ticket: ticket, before: before, external: state.withLock { $0.external.pending })
    }

    /// Ends a change of ours, so that what it left is not taken for somebody else's doing.
    ///
    /// - Parameter isDurable: whether everything that was changed is on stable storage.
    /// - Returns: what the change found and left.
    func endChange(_ change: consuming OwnChange, isDurable: Bool) -> WeakCacheConsistency {
        defer { LockRank.didUnlock(.write) }
        let before = change.before
        return ranges.endWrite(change.ticket) { isLast, wasAlone in
            guard let after = try? descriptor.attributes() else { return WeakCacheConsistency() }
            noteOwnChange(after, isLast: isLast, isDurable: isDurable)
            return WeakCacheConsistency(before: wasAlone ? before?.consistency : nil, after: after)
        }
    }

    /// Ends a change that has not touched the file. If it is the last of a group, it notes what the others have left.
    func abandonChange(_ change: consuming OwnChange) {
        ranges.endWrite(change.ticket) { isLast, wasAlone in
            guard isLast, !wasAlone, let after = try? descriptor.attributes() else { return }
            noteOwnChange(after, isLast: true, isDurable: true)
        }
        LockRank.didUnlock(.write)
    }

    private func noteOwnChange(_ after: FileAttributes, isLast: Bool, isDurable: Bool) {
        state.withLock {
            if isLast { $0.external.noteOwn(after.consistency) }
            if !isDurable { $0.isDirty = true }
            let hasOtherSize = after.size != $0.size
            $0.size = after.size
            guard hasOtherSize || $0.needsIdentificationSince != nil else { return }
            let now = ContinuousClock.now
            $0.lastWrite = now
            if hasOtherSize { $0.needsIdentificationSince = now }
        }
    }

    /// Takes note that the file got or lost a name by our doing.
    func noteNameChange() {
        guard let now = try? descriptor.attributes().consistency else { return }
        state.withLock { $0.external.noteNameChange(now) }
    }

    /// Whether another program may have changed the file, given its attributes a moment ago; does not wait.
    func mayBeChanged(_ attributes: FileAttributes) -> Bool {
        state.withLock { !$0.external.isAsKnown(attributes.consistency) }
    }

    /// Whether another program has changed the file; waits for who finds that out at the moment.
    ///
    /// - Returns: the change, for whoever asks until ``endExternalChange(_:)``: nobody may go by what was known before.
    func externalChange() -> ExternalChanges.Change? {
        // What the caller saw may be older than a write of ours: what counts is how the file looks while none is under
        // way. If one is, its end or the next beginning tells.
        _ = ranges.whileIdle(waits: true) { _ = lookAtContents() }
        return state.withLock { $0.external.pending }
    }

    /// What was known of the contents before somebody else's change is forgotten.
    func endExternalChange(_ change: ExternalChanges.Change) {
        state.withLock { $0.external.end(change) }
    }

    /// Called while no change of ours is under way.
    private func lookAtContents() -> FileAttributes? {
        guard let now = try? descriptor.attributes() else { return nil }
        state.withLock { $0.external.look(now.consistency) }
        return now
    }
}
