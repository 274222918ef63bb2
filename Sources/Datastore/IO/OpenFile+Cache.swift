import BlockStorage
import Tiering

extension OpenFile {
    /// Shows the bytes of a write to readers: whole pages are cached by what they were before the write, or look like
    /// now, so that the guest's metadata is in RAM from the moment it is written; parts of pages are updated where they
    /// are cached.
    ///
    /// Also while the file is part of no image: pages that were cached before must not be found old when it is again.
    func cacheWrite(_ bytes: UnsafeRawBufferPointer, at offset: Int, member: ImageSession.Member?) {
        guard isCached, let member else { return cache.update(image: cacheID, offset: offset, bytes: bytes) }
        let range = ByteRange(offset: offset, length: bytes.count)
        let kinds = PageKinds.ofWrite(bytes, at: offset, member)
        kinds.forEachRun(of: range.aligned(to: PageCache.pageSize)) { run, kind in
            guard let part = run.intersection(range) else { return }
            let source = UnsafeRawBufferPointer(rebasing: bytes[part.offset - offset..<part.end - offset])
            if let kind {
                cache.insert(
                    image: cacheID, offset: part.offset, bytes: source, kind: kind, admission: kinds.admission)
            } else {
                cache.update(image: cacheID, offset: part.offset, bytes: source)
            }
        }
    }

    /// Takes everything out of the cache, and keeps out what is being read.
    func forgetPages() {
        ranges.dropFills()
        cache.removeAll(image: cacheID)
    }

    /// Takes pages out of the cache that may not be what the file holds.
    func forgetPages(of range: ByteRange) {
        cache.remove(image: cacheID, range: range.aligned(to: PageCache.pageSize))
    }
}
