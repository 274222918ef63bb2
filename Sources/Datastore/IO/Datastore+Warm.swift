import BlockStorage
import Glibc

extension Datastore {
    private static let pollInterval: useconds_t = 20_000

    /// The images that introspection follows, by path.
    public var imagePaths: [String] { files.sessions.map(\.image.path) }

    /// Reads the metadata of the image at `path` into the cache, as far as the cache has room: it displaces data above
    /// its share, and no metadata that is in use. Waits for the image's scan; blocks.
    ///
    /// - Returns: the bytes of metadata that the image has, and how many of them are in the cache now.
    /// - Throws: `noEntry` when introspection follows no such image, and what kept the image from being read.
    public func warm(_ path: String) throws(DatastoreError) -> (metadataBytes: Int, cachedBytes: Int) {
        guard let session = files.sessions.first(where: { $0.image.path == path }) else {
            throw DatastoreError(.noEntry, "\(path): no image that introspection follows")
        }
        let background = files.background
        let isCancelled = { [tier] in background.isStopping || tier.isAdministrationOver() }
        while session.lastScan == nil, session.isBusy, !session.hasFailed, !isCancelled() {
            usleep(Self.pollInterval)
        }
        do throws(StorageError) {
            let result = try session.warm(isCancelled: isCancelled, pausing: { background.yieldToReaders() })
            return (result.wanted, result.cached)
        } catch {
            throw DatastoreError(error)
        }
    }
}
