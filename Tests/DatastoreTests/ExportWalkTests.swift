import Foundation
import Glibc
import TestTools
import Testing

@testable import Datastore

/// Walks through exports that clients have made as deep and as wide as they can.
struct ExportWalkTests {
    /// Makes directories within each other from `name` on, calls `body` with each, and returns the path of the last.
    private func makeChain(
        _ test: TestDatastore, depth: Int, _ body: (_ directory: Int32, _ level: Int) -> Void
    ) {
        var directory = open(test.local(""), O_RDONLY | O_DIRECTORY)
        for level in 0..<depth {
            #expect(mkdirat(directory, "d", 0o755) == 0)
            let next = openat(directory, "d", O_RDONLY | O_DIRECTORY)
            close(directory)
            directory = next
            body(directory, level)
        }
        close(directory)
    }

    private func processorTime(_ body: () -> Void) -> Double {
        func now() -> Double {
            var time = timespec()
            clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
            return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
        }
        let start = now()
        body()
        return now() - start
    }

    /// How many descriptors of this process lead there.
    private func openFiles(in directory: String) -> Int {
        let numbers = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? []
        return numbers.count {
            (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\($0)"))?.hasPrefix(directory)
                == true
        }
    }

    private func root(_ test: TestDatastore) throws -> ExportRoot { try #require(test.datastore.roots.values.first) }

    /// Each entry is told once, whatever is closed on the way down: there are directories beside the way at each level.
    @Test func everyEntryIsToldOnce() throws {
        let test = try TestDatastore()
        makeChain(test, depth: 300) { directory, level in
            for name in ["a", "z"] { #expect(mkdirat(directory, "\(name)\(level)", 0o755) == 0) }
            close(openat(directory, "z\(level)/file", O_CREAT | O_WRONLY, 0o644))
        }
        var names: [String: Int] = [:]
        var mostOpen = 0
        ExportWalk(root: try root(test)).forEachEntry { entry, name, directory in
            names[name.description, default: 0] += 1
            var status = stat()
            name.withCString { #expect(fstatat(directory.rawValue, $0, &status, AT_SYMLINK_NOFOLLOW) == 0) }
            #expect(UInt64(status.st_ino) == entry.inode)
            if names.count.isMultiple(of: 50) { mostOpen = max(mostOpen, openFiles(in: test.directory)) }
            return true
        }
        #expect(names["d"] == 300 && names["file"] == 300)
        #expect((0..<300).allSatisfy { names["a\($0)"] == 1 && names["z\($0)"] == 1 })
        #expect((1..<100).contains(mostOpen))
    }

    /// Thousands of directories at a depth of a thousand: each is opened from the one above, not from the top.
    @Test func manyDirectoriesAtALargeDepthTakeLittleTime() throws {
        let test = try TestDatastore()
        makeChain(test, depth: 1000) { directory, level in
            guard level == 999 else { return }
            for number in 0..<3000 { #expect(mkdirat(directory, "n\(number)", 0o755) == 0) }
        }
        let walk = ExportWalk(root: try root(test))
        var count = 0
        let time = processorTime {
            walk.forEachEntry { _, _, _ in
                count += 1
                return true
            }
        }
        #expect(count == 4000)
        // Three million opens take more.
        #expect(time < 1.5)
    }

    @Test func aWalkEndsWhenItIsTold() throws {
        let test = try TestDatastore()
        for number in 0..<20 { #expect(mkdir(test.local("d\(number)"), 0o755) == 0) }
        var count = 0
        ExportWalk(root: try root(test)).forEachEntry { _, _, _ in
            count += 1
            return count < 5
        }
        #expect(count == 5)
    }

    /// One walk for all who are sought; a file without a name is nowhere.
    @Test func pathsAreFoundInTheBackground() throws {
        let test = try TestDatastore()
        #expect(mkdir(test.local("d"), 0o755) == 0)
        let paths = (0..<20).map { $0 % 2 == 0 ? "f\($0)" : "d/f\($0)" }
        for path in paths { try test.makeLocalFile(path) }
        try test.makeLocalFile("gone")
        let root = try root(test)
        func open(_ path: String) throws -> OwnedDescriptor {
            try OwnedDescriptor(taking: Glibc.open(test.local(path), O_RDONLY), in: root)
        }
        let files = try paths.map(open)
        let gone = try open("gone")
        unlink(test.local("gone"))
        var answers: [Int: String] = [:]
        var isNowhere = false
        for _ in 0..<2000 where answers.count < files.count || !isNowhere {
            for (index, file) in files.enumerated() where answers[index] == nil {
                if case .isAt(let path) = root.paths.place(of: file) { answers[index] = path }
            }
            if !isNowhere, case .isNowhere = root.paths.place(of: gone) { isNowhere = true }
            usleep(5000)
        }
        #expect(isNowhere)
        for (index, path) in paths.enumerated() { #expect(answers[index] == "\(root.export.path)/\(path)") }
    }
}
