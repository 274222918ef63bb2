import Tiering

/// The registers of a state directory.
struct Registers {
    let redirects: RedirectRegister
    let lateTimes: FileRegister
    private let contents: Register<StateContents>
    private let state: StateDirectory

    /// Reads them; throws when one is missing or damaged, or in a form that is not known.
    init(in state: StateDirectory) throws(DatastoreError) {
        self.state = state
        contents = try Register(StateContents.fileName, in: state, mayBeOld: true)
        let names = contents.current.names
        redirects = try RedirectRegister(
            in: state, mayBeOld: !names.contains(RedirectRegister.fileName),
            notesMayLack: !names.contains(LogNotes.fileName))
        lateTimes = try FileRegister(
            LateTimes.registerName, in: state, mayBeOld: !names.contains(LateTimes.registerName))
    }

    /// Whether nothing is known of any file.
    var areEmpty: Bool { !redirects.mayNeedLog && lateTimes.entries.isEmpty }

    /// Throws when files are known by handles that this server cannot open: they would be served as if nothing were known
    /// of them.
    func check(_ handles: HandleCodec, served roots: [ExportRoot]) throws(DatastoreError) {
        for image in redirects.entries.keys {
            guard let content = FileHandle(image.bytes).flatMap({ try? handles.open($0) }) else {
                throw DatastoreError(
                    .serverFault,
                    """
                    \(redirects.path) names images by another handle key than \(state.path)/handle-key: put back the two files \
                    that belong together from a copy of the state directory
                    """)
            }
            guard let root = roots.first(where: { $0.export.id == content.exportID }),
                root.issuesKernelHandles != content.identity.isKernelHandle
            else { continue }
            throw DatastoreError(
                .serverFault,
                """
                \(redirects.path) names images of \(root.export.path) by \
                \(root.issuesKernelHandles ? "inode numbers" : "the kernel's handles"), which this server does not use: start \
                it with the rights that it had (CAP_DAC_READ_SEARCH) until introspectctl drain has moved their blocks
                """)
        }
    }

    /// Writes them in their present form where they are missing or in an older one, and then that they are.
    func upgrade() throws(DatastoreError) {
        try redirects.upgrade()
        try lateTimes.upgrade()
        try contents.change { $0.names = [RedirectRegister.fileName, LogNotes.fileName, LateTimes.registerName] }
    }
}
