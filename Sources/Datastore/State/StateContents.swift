/// Which files must be in the state directory: a register that is not there says nothing, and what depended on it would be
/// taken for free. Once all registers are in the present form this list is written, and none may be missing after that,
/// nor be in the first version, which cannot be told from a file that was cut off.
struct StateContents: RegisterContent {
    static let fileName = "registers"
    private static let word = Array("register".utf8)

    var names: Set<String> = []

    mutating func take(_ line: RegisterForm.Line) -> String? {
        guard line.words.count == 2, line.words[0] == Self.word else { return "register and a name" }
        names.insert(line.text(1))
        return nil
    }

    mutating func takeFirstVersion(_: [UInt8]) -> (line: Int, expected: String)? { (1, "introspect registers") }

    var lines: [[[UInt8]]] { names.sorted().map { [Self.word, Array($0.utf8)] } }

    static func missing(_ name: String, in state: StateDirectory) -> DatastoreError {
        DatastoreError(
            .serverFault,
            """
            \(state.path)/\(name) is missing: without it the server cannot know which images have blocks that are nowhere \
            else; put it back from a copy of the state directory, or use another directory (--state) to begin anew
            """)
    }
}
