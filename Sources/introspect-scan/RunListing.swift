import ArgumentParser
import BlockStorage
import Glibc
import Introspection

/// What every run of bytes of a disk is, at one moment: read from the image, or as `introspect-scan runs` printed it.
struct RunListing {
    struct Run {
        var range: ByteRange
        var blockClass: BlockClass
        var owner: UInt64?
    }

    /// Sorted and without gaps.
    let runs: [Run]
    /// The disk; nil when only a listing is left of it.
    let disk: (any BlockDevice)?

    /// The size of the disk in bytes.
    var size: Int { runs.last?.range.end ?? 0 }

    /// The image, or the saved listing, at `path`; ends the command when it is neither.
    init(_ path: String, sectorSize: Int?, noProgress: Bool) throws {
        try orComplain { () throws(Refusal) in try HostPaths.check(path) }
        if let saved = try Self.savedRuns(path) {
            runs = saved
            disk = nil
            return
        }
        let (index, size) = try makeIndex(path, sectorSize: sectorSize, noProgress: noProgress)
        var found: [Run] = []
        index.forEachRun(in: ByteRange(offset: 0, length: size)) {
            found.append(Run(range: $0.range, blockClass: $0.blockClass, owner: $0.owner))
        }
        _ = complain(about: index.problems)
        runs = found
        disk = try orComplain { () throws(Refusal) in try OpenImage(path).disk }
    }

    /// The lines of a listing; nil when the first one is none.
    private static func savedRuns(_ path: String) throws -> [Run]? {
        guard let file = fopen(path, "r") else { return nil }
        defer { fclose(file) }
        var runs: [Run] = []
        while let line = readLine(of: file) {
            guard let run = run(line), run.range.offset == runs.last?.range.end ?? 0 else {
                if runs.isEmpty { return nil }
                complain("\(path): line \(runs.count + 1): expected OFFSET LENGTH CLASS OWNER without a gap: \(line)")
                throw ExitStatus.unreadable
            }
            runs.append(run)
        }
        return runs.isEmpty ? nil : runs
    }

    /// The next line, of no more than its first 255 bytes: no line of a listing is longer.
    private static func readLine(of file: UnsafeMutablePointer<FILE>) -> String? {
        var buffer = [CChar](repeating: 0, count: 256)
        guard fgets(&buffer, Int32(buffer.count), file) != nil else { return nil }
        return String(decoding: buffer.prefix { $0 != 0 && $0 != 10 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    private static func run(_ line: String) -> Run? {
        let words = line.split(separator: " ")
        guard words.count == 4, let offset = UInt64(words[0]), let length = UInt64(words[1]), length > 0,
            let range = ByteRange(checkedOffset: offset, length: length),
            let blockClass = BlockClass.allCases.first(where: { $0.name == words[2] })
        else { return nil }
        return Run(range: range, blockClass: blockClass, owner: UInt64(words[3]))
    }

    /// Calls `body` with the parts of `range` that are of one run in both listings.
    static func forEachPair(_ before: RunListing, _ after: RunListing, in range: ByteRange, _ body: (Run, Run) -> Void)
    {
        var left = before.index(at: range.offset)
        var right = after.index(at: range.offset)
        while left < before.runs.count, right < after.runs.count {
            let (old, new) = (before.runs[left], after.runs[right])
            guard let shared = old.range.intersection(new.range)?.intersection(range) else { return }
            body(
                Run(range: shared, blockClass: old.blockClass, owner: old.owner),
                Run(range: shared, blockClass: new.blockClass, owner: new.owner))
            if old.range.end == shared.end { left += 1 }
            if new.range.end == shared.end { right += 1 }
            if shared.end == range.end { return }
        }
    }

    private func index(at offset: Int) -> Int {
        runs.partitioningIndex { $0.range.end > offset }
    }
}
