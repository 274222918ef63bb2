/// The programs of one listener.
struct ProgramTable: Sendable {
    private let programs: [any RPCProgram]

    init(_ programs: [any RPCProgram]) {
        self.programs = programs
    }

    /// The program that serves this version; the failure that answers the call when there is none.
    func find(_ number: UInt32, version: UInt32) throws(RPCFailure) -> any RPCProgram {
        // Two or three programs: looking at each is the quickest.
        guard let program = programs.first(where: { $0.number == number }) else { throw .programUnavailable }
        guard program.versions.contains(version) else { throw .programMismatch(supported: program.versions) }
        return program
    }

    func endBatch() { for index in programs.indices { programs[index].endBatch() } }
}
