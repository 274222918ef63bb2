import BlockStorage

/// Finds the names of open files of which the kernel knows none: of files that were opened by their handle alone.
///
/// One walk through the export looks for all of them, on a thread of its own; see ``InodeSearch``.
final class PathSearch: Sendable {
    /// What is known of where a file is.
    enum Answer: Sendable {
        case isAt(String)
        case isNowhere
        /// Nothing yet: to be asked again.
        case isSought
    }

    /// Answers that wait for who asked; files may be closed meanwhile.
    private static let mostAnswers = 10_000

    private let search = InodeSearch(patience: .zero)
    private let answers = Locked<[InodeIdentity: Answer]>([:])

    /// Where `file` is, which is in the export; an answer is given once.
    func place(of file: OwnedDescriptor) -> Answer {
        let identity = file.identity
        if let answer = answers.withLock({ $0.removeValue(forKey: identity) }) { return answer }
        let root = file.root
        search.wait(for: identity) { [self] sought, isStopped in find(sought, in: root, unless: isStopped) }
        return .isSought
    }

    /// Ends a walk that is under way; nothing is found after that.
    func stop() { search.stop() }

    private func find(_ sought: Set<InodeIdentity>, in root: ExportRoot, unless isStopped: () -> Bool) {
        var missing = Dictionary(grouping: sought, by: \.inode)
        ExportWalk(root: root).forEachEntry { entry, name, directory in
            if let candidates = missing[entry.inode],
                let file = try? root.openEntry(name, of: directory.rawValue, flags: ExportWalk.pathOnly),
                let path = file.currentPath
            {
                for identity in candidates where file.isFile(identity) { note(.isAt(path), identity) }
                let others = candidates.filter { !file.isFile($0) }
                missing[entry.inode] = others.isEmpty ? nil : others
            }
            return !missing.isEmpty && !isStopped()
        }
        guard !isStopped() else { return }
        for identity in missing.values.joined() { note(.isNowhere, identity) }
    }

    private func note(_ answer: Answer, _ identity: InodeIdentity) {
        answers.withLock { answers in
            if answers.count >= Self.mostAnswers { answers.removeAll() }
            answers[identity] = answer
        }
    }
}
