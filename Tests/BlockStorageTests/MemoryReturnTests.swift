import CLinux
import Foundation
import Testing

/// What is freed goes back to the kernel from all of malloc()'s heaps, whichever threads it was taken by.
struct MemoryReturnTests {
    private static let kept = 64 << 20

    /// Of this process, in bytes.
    private static var resident: Int {
        let words = (try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8))?.split(separator: " ")
        return (words.flatMap { Int($0[1]) } ?? 0) * 4096
    }

    /// In a process of its own: the heaps are those of all threads.
    @Test func freedMemoryOfAllHeapsGoesBack() async {
        await #expect(processExitsWith: .success) {
            linux_keep_freed_memory(Self.kept)
            let before = Self.resident
            // All at once, so that each has a heap of its own.
            let (hasTaken, mayEnd) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
            let ends = DispatchGroup()
            for _ in 0..<4 {
                ends.enter()
                Thread.detachNewThread {
                    let blocks = (0..<48).compactMap { _ in malloc(1 << 20) }
                    for block in blocks { memset(block, 1, 1 << 20) }
                    for block in blocks { free(block) }
                    hasTaken.signal()
                    mayEnd.wait()
                    ends.leave()
                }
            }
            for _ in 0..<4 { hasTaken.wait() }
            let freed = Self.resident
            linux_give_back_memory(Self.kept)
            let after = Self.resident
            for _ in 0..<4 { mayEnd.signal() }
            ends.wait()
            guard freed > before + 96 << 20, after < before + 16 << 20 else {
                fatalError("\(before) bytes before, \(freed) when all was freed, \(after) when it was given back")
            }
        }
    }
}
