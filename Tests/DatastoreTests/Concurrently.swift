import BlockStorage

/// Calls `body` on `threads` threads with their numbers, and waits for all of them.
func concurrently(threads: Int, _ body: @escaping @Sendable (Int) -> Void) {
    let pool = IOPool(name: "test", threadCount: threads)
    for thread in 0..<threads {
        pool.submit { body(thread) }
    }
    pool.shutDown()
}
