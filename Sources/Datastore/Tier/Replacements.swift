import BlockStorage
import Tiering

/// What stands in the places of images that have blocks in the redirect log and could not be opened at the start.
struct Replacements {
    /// Those images, no more than the register names, by what it keeps of their paths.
    private(set) var orphans: [ByteString: Set<ImageIdentity>] = [:]
    /// The files that were found there, and the images whose places those are.
    private(set) var files: [ImageIdentity: Set<ImageIdentity>] = [:]

    /// Has what comes to the place of an image looked at.
    mutating func watch(_ image: ImageIdentity, at place: ByteString) { orphans[place, default: []].insert(image) }

    /// Notes a file that stands where images were.
    mutating func note(_ file: ImageIdentity, for images: Set<ImageIdentity>) {
        files[file, default: []].formUnion(images)
    }

    /// Of those that have stood at a place only `standing` do.
    mutating func keep(_ standing: [ImageIdentity], at place: ByteString) {
        guard let images = orphans[place] else { return }
        for (file, places) in files where !places.isDisjoint(with: images) && !standing.contains(file) {
            let others = places.subtracting(images)
            files[file] = others.isEmpty ? nil : others
        }
    }

    /// Forgets files that are gone.
    mutating func forget(_ gone: some Sequence<ImageIdentity>) {
        for file in gone { files[file] = nil }
    }

    /// Forgets an image of which the log has nothing any more.
    ///
    /// - Parameter place: where it was; nil when it was never in the register.
    mutating func forget(_ image: ImageIdentity, at place: ByteString?) {
        files[image] = nil
        guard let place else { return }
        orphans[place]?.remove(image)
        if orphans[place]?.isEmpty == true { orphans[place] = nil }
        for (file, images) in files where images.contains(image) {
            files[file] = images.count > 1 ? images.subtracting([image]) : nil
        }
    }
}
