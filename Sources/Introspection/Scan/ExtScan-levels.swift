import BlockStorage
import GuestFilesystems

extension ExtScan {
    /// Levels below the inodes that a file system can have: an extent tree's nodes, and contents.
    private static let levelLimit = ExtExtentNode.maximumDepth + 2

    /// Reads what inodes point at, then what that points at, until nothing is left.
    func followLevels() {
        for level in 0..<Self.levelLimit {
            let found = takeFound()
            guard !found.isEmpty else { return }
            if level == 0 {
                result.roots = found.map(\.run).sorted { ($0.owner, $0.block) < ($1.owner, $1.block) }
            }
            let accepted = claims.claim(found)
            environment.meter.removeRuns(found.count - accepted.count)
            guard claims.runs.count - fixedCount <= environment.options.runLimit(blockCount: geometry.endBlock) else {
                workers[0].hasOverflowed = true
                return
            }
            guard read(accepted.filter { $0.run.blockClass != .journal }) else { return }
        }
    }

    /// Empties what the threads have found.
    private func takeFound() -> [WantedRun] {
        var found: [WantedRun] = []
        found.reserveCapacity(workers.reduce(0) { $0 + $1.found.count })
        for worker in workers {
            found += worker.found
            worker.found = []
        }
        return found
    }

    /// Parts of runs that are read in one go: a run may be of any length, and is cut into reads.
    private static let partsAtOnce = 16_384

    /// Reads runs and visits nodes and directories among them. Returns false when the scan is to end.
    private func read(_ wanted: [WantedRun]) -> Bool {
        let limit = UInt64(max(1, environment.options.requestLimit / geometry.blockSize))
        var parts: [WantedRun] = []
        for run in wanted {
            for start in stride(from: 0, to: UInt64(run.run.count), by: Int(limit)) {
                parts.append(run.part(from: start, count: min(limit, UInt64(run.run.count) - start)))
                guard parts.count == Self.partsAtOnce else { continue }
                guard !environment.meter.isExhausted else { return true }
                guard read(parts: parts) else { return false }
                parts.removeAll(keepingCapacity: true)
            }
        }
        return read(parts: parts)
    }

    private func read(parts: [WantedRun]) -> Bool {
        let runs = parts.map {
            ClassifiedRange(range(of: $0.run.block, count: Int($0.run.count)), $0.run.blockClass)
        }
        let (visitDirectory, blockSize) = (visitDirectory, geometry.blockSize)
        return read(runs) { worker, item, span in
            let part = parts[item]
            if part.run.pointsAtMetadata || part.run.level == 1 && worker.collectsData {
                worker.visit(part, span)
            } else if part.run.blockClass == .directory, let visitDirectory {
                for start in stride(from: 0, to: span.byteCount, by: blockSize) {
                    visitDirectory(part.run.owner, span.extracting(start..<start + blockSize))
                }
            }
        }
    }
}
