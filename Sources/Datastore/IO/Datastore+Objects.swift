import BlockStorage
import Introspection

/// What the server knows of the insides of images, asked while guests write to them.
extension Datastore {
    /// What is at `offset` of the virtual disk of an image, and which guest's file it belongs to. Blocks.
    ///
    /// - Parameter path: one of the image's files on this machine, as ``DatastoreReport/Image/path`` has it.
    public func explain(path: String, offset: Int) throws(DatastoreError) -> Explanation {
        let session = try session(ofImage: path)
        return session.introspector.explain(offset: offset, session.reader)
    }

    /// Where a guest's file is on the virtual disk of an image: its inode, the blocks that map it, and its contents in
    /// the order of the file. Blocks.
    ///
    /// - Parameters:
    ///   - path: one of the image's files on this machine.
    ///   - file: the path of the guest's file in its file system.
    ///   - volume: the name of the file system's volume; nil where there is one file system only.
    public func places(
        path: String, of file: ByteString, volume: String? = nil
    ) throws(DatastoreError) -> [GuestFilePlace] {
        let session = try session(ofImage: path)
        do throws(GuestFileError) {
            return try session.introspector.places(of: file, volume: volume, session.reader)
        } catch {
            throw DatastoreError(.noEntry, error.description)
        }
    }

    /// Calls `body` for each image that introspection knows with its path, its object index, and what reads its disk; ends
    /// when administration does. An index that was made for this is dropped: those of many images take no memory together.
    public func forEachObjectIndex(_ body: (_ path: String, DiskIntrospector, any ClassifiedReader) -> Void) {
        for session in files.sessions where session.lastScan != nil {
            guard !isAdministrationOver else { return }
            let isNew = session.introspector.objectIndexBytes == 0
            body(session.image.path, session.introspector, session.reader)
            if isNew { session.introspector.dropObjectIndexes() }
        }
    }

    private func session(ofImage path: String) throws(DatastoreError) -> ImageSession {
        let session = files.sessions.first { session in
            session.image.path == path || session.files.contains { $0.path == path }
        }
        guard let session, session.lastScan != nil else {
            throw DatastoreError(.noEntry, "\(path): no image that introspection knows")
        }
        return session
    }
}
