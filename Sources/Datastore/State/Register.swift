import BlockStorage

/// What a ``Register`` keeps.
protocol RegisterContent: Equatable, Sendable {
    init()
    /// Takes in a line of the present form; returns what was expected when it is none.
    mutating func take(_ words: RegisterForm.Line) -> String?
    /// Takes in a file of the first version; returns what was expected, and in which line, when it is none.
    mutating func takeFirstVersion(_ bytes: [UInt8]) -> (line: Int, expected: String)?
    /// The lines that say all of it, in an order of their own.
    var lines: [[[UInt8]]] { get }
}

/// A value that is kept in a file of the state directory. What readers see is durable: a change shows when it is.
final class Register<Content: RegisterContent>: @unchecked Sendable {
    /// The file's name in the state directory.
    let name: String
    private let state: StateDirectory
    private let content: Locked<Content>
    /// One change at a time: it is written without a lock that readers take.
    private let turn = Monitor()
    private var isChanging = false
    private let found: Form

    /// How the file was found.
    private enum Form { case missing, first, present }

    /// Reads the register `name` of `state`.
    ///
    /// - Parameter mayBeOld: whether it may be missing, or in its first version.
    init(_ name: String, in state: StateDirectory, mayBeOld: Bool) throws(DatastoreError) {
        self.name = name
        self.state = state
        let form = RegisterForm(path: "\(state.path)/\(name)", name: name)
        var content = Content()
        if let bytes = try state.read(name: name) {
            if RegisterForm.isForm(bytes) || !mayBeOld {
                for line in try form.decode(bytes) {
                    guard let expected = content.take(line) else { continue }
                    let words = line.words.map { ByteString($0).description }.joined(separator: " ")
                    throw form.damage(line: line.number, expected: expected, found: words)
                }
                found = .present
            } else {
                if let (line, expected) = content.takeFirstVersion(bytes) {
                    throw form.damage(line: line, expected: expected, found: "something else")
                }
                found = .first
            }
        } else {
            guard mayBeOld else { throw StateContents.missing(name, in: state) }
            found = .missing
        }
        self.content = Locked(content)
    }

    /// The file's path.
    var path: String { "\(state.path)/\(name)" }

    /// What is kept.
    var current: Content { content.withLock { $0 } }

    /// Part of what is kept.
    func get<Value: Sendable>(_ body: (Content) -> Value) -> Value { content.withLock { body($0) } }

    /// Writes the file in the present form, durably, if it is not in it.
    func upgrade() throws(DatastoreError) {
        guard found != .present else { return }
        _ = try alone(waits: true) { () throws(DatastoreError) in try write(current) }
    }

    /// Changes what is kept, durably; when that fails nothing has changed.
    ///
    /// - Parameter waits: whether to wait for another change that is under way.
    /// - Returns: false when there was one, and nothing was done.
    @discardableResult
    func change(waits: Bool = true, _ body: (inout Content) -> Void) throws(DatastoreError) -> Bool {
        try alone(waits: waits) { () throws(DatastoreError) in
            let before = current
            var changed = before
            body(&changed)
            guard changed != before else { return }
            try write(changed)
            let done = changed
            content.withLock { $0 = done }
        }
    }

    private func write(_ content: Content) throws(DatastoreError) {
        try state.replace(name, with: RegisterForm(path: path, name: name).encode(content.lines))
    }

    private func alone(waits: Bool, _ body: () throws(DatastoreError) -> Void) throws(DatastoreError) -> Bool {
        let isMine = turn.withLock {
            guard waits || !isChanging else { return false }
            while isChanging { turn.wait() }
            isChanging = true
            return true
        }
        guard isMine else { return false }
        defer {
            turn.withLock {
                isChanging = false
                turn.broadcast()
            }
        }
        try body()
        return true
    }
}
