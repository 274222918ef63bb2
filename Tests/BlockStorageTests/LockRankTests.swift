import BlockStorage
import Testing

#if DEBUG
    /// A build without optimisation finds out when locks are taken in another order than they should be.
    struct LockRankTests {
        @Test func locksAreTakenUpwards() {
            let low = Locked(1, .openFiles)
            let high = Locked(2, .cache)
            for _ in 0..<2 { #expect(low.withLock { low in high.withLock { low + $0 } } == 3) }
            LockRank.willWait(for: "nothing")
        }

        @Test func aLockTakenDownwardsEndsTheProgram() async {
            await #expect(processExitsWith: .failure) {
                let low = Locked(1, .openFiles)
                let high = Monitor(.ranges)
                high.withLock { low.withLock { _ in } }
            }
        }

        @Test func aSecondLockOfOneRankEndsTheProgram() async {
            await #expect(processExitsWith: .failure) {
                let locks = [Monitor(.ranges), Monitor(.ranges)]
                locks[0].withLock { locks[1].withLock {} }
            }
        }

        @Test func ioUnderALockEndsTheProgram() async throws {
            await #expect(processExitsWith: .failure) {
                let file = try FileDevice(path: "/proc/self/exe", access: .readOnly, mode: .buffered)
                let lock = Locked(1, .file)
                _ = try lock.withLock { _ in try file.read(ByteRange(offset: 0, length: 1)) }
            }
        }

        @Test func waitingForOthersUnderALockEndsTheProgram() async {
            await #expect(processExitsWith: .failure) {
                let lock = Locked(1, .file)
                let monitor = Monitor()
                lock.withLock { _ in monitor.withLock { monitor.wait { true } } }
            }
        }

        /// A turn, and a place among a file's writes, are no locks: under them there may be I/O.
        @Test func ioUnderAClaimIsAllowed() throws {
            let file = try FileDevice(path: "/proc/self/exe", access: .readOnly, mode: .buffered)
            LockRank.willLock(.directoryTurn)
            LockRank.willLock(.write)
            #expect(try file.read(ByteRange(offset: 0, length: 4)) == [0x7F, 0x45, 0x4C, 0x46])
            LockRank.didUnlock(.write)
            LockRank.didUnlock(.directoryTurn)
        }
    }
#endif
