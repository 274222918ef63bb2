#!/bin/bash
# Plants bugs in the redirect log, one after the other, in a copy of the sources, and runs the simulator on each: it must
# find every one. Prints the first seeds that do. Takes about ten minutes; `run.sh EXPRESSION` takes the bugs whose name
# matches, `run.sh --check` looks whether each can be planted.
set -euo pipefail
root=$(cd "$(dirname "$0")/../../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/Sources" "$work/Tests"
cp -r "$root"/Sources/{CLinux,BlockStorage,Tiering} "$work/Sources"
cp -r "$root"/Tests/{TestTools,TieringTests} "$work/Tests"
cat > "$work/Package.swift" <<'PACKAGE'
// swift-tools-version: 6.2
import PackageDescription

let package = Package(
    name: "planted",
    targets: [
        .target(name: "CLinux"),
        .target(name: "BlockStorage", dependencies: ["CLinux"]),
        .target(name: "Tiering", dependencies: ["BlockStorage"]),
        .target(name: "TestTools", dependencies: ["BlockStorage"], path: "Tests/TestTools"),
        .testTarget(
            name: "TieringTests", dependencies: ["BlockStorage", "Tiering", "TestTools"], exclude: ["PlantedBugs"]),
    ],
    swiftLanguageModes: [.v6]
)
PACKAGE
cd "$work"
tests=SimulationTests schedules=15000
options=(-c release -Xswiftc -enable-testing)
# shellcheck source=plant.sh
source "$root/Tests/TieringTests/PlantedBugs/plant.sh"
log=Tiering/RedirectLog

plant "dropping the sync of a commit" $log/RedirectLog+Commit.swift \
    'try ring.write(batch.bytes, at: batch.start) try ring.flush()' \
    'try ring.write(batch.bytes, at: batch.start)'
plant "dropping the sync of a checkpoint" $log/RedirectLog+Checkpoint.swift \
    'try ring.write(batch.bytes, at: batch.start) try ring.flush()' \
    'try ring.write(batch.bytes, at: batch.start)'
plant "dropping the sync of an image" $log/DestageStep.swift \
    'try target.flush()' ''
plant "reusing a segment early: live redirects" $log/RedirectLog+Commit.swift \
    'min(oldestLive(geometry), superblock.checkpoint ?? 0)' 'superblock.checkpoint ?? 0'
plant "replaying out of order: older records win" $log/RedirectLog+Commit.swift \
    'case .write: index.insert(image: number, record.range, position: record.position)' \
    'case .write: if !index.hasRedirect(image: number, record.range) { index.insert(image: number, record.range, position: record.position) }'
plant "replaying a settlement over newer records" $log/RedirectLog+Commit.swift \
    'index.remove(image: number, range, before: record.horizon)' 'index.remove(image: number, range)'
plant "replaying what an epoch left behind" $log/RedirectLog+Recovery.swift \
    'position < superblock.epochStart ? (first...superblock.epoch).contains($0.epoch) : $0.epoch == superblock.epoch' \
    '$0.position >= 0'
plant "acknowledging before the group commit" $log/RedirectLog.swift \
    'try commit(through: batch) return true' 'return true'
plant "forgetting the redirect on a partial overwrite: routing" $log/RedirectIndex.swift \
    'for (region, start, end) in parts(of: range, image: image) where !indices(of: region, from: start, to: end).isEmpty { return true } return false' \
    'return redirects(image: image, range).first?.range == range'
plant "forgetting the redirect on a partial overwrite: index" $log/RedirectIndex.swift \
    'for part in [extent.part(0, start), extent.part(end, .max)].compactMap(\.self) {' \
    'for part in [extent.part(0, start)].compactMap(\.self) {'
plant "settling before the image is synced" $log/DestageStep.swift \
    'try target.flush()' 'if settles { try log.settle(ranges, of: image, before: horizon) }; try target.flush()'
plant "forgetting what a failed commit may have left" $log/RedirectLog+Commit.swift \
    'state.inDoubt.insert(image: number, entry.record.range, position: entry.record.position)' '_ = number'
plant "flushing one side of a mirror" $log/LogRing.swift \
    'for side in sides { try side.flush() }' 'try sides[0].flush()'
plant "leaving the end of a mirror unequal" $log/RedirectLog+Recovery.swift \
    'try writeAgain(lastCommit)' ''
plant "forgetting an evacuated log before that is on record" $log/Destager.swift \
    'try record() log.abandon()' 'log.abandon(); try record()'
plant "laying older blocks over what was written through" $log/DestageStep.swift \
    'index < run.upperBound, items[index].redirect.position == redirect.position,' 'index < run.upperBound,'
plant "not holding the range that is destaged" $log/DestageStep.swift \
    'try target.exclusively(range) { () throws(StorageError) in
                for part' 'do { for part'
plant "going by a superblock that one copy has" $log/LogRing.swift \
    'for slot in [first, 1 - first] {' 'for slot in [first] {'
plant "not repairing what a side of a mirror lacks" $log/RedirectLog+Recovery.swift \
    'try repair(lacking.filter { $0.found.record.position < lastStart })' ''
plant "not comparing all of an older copy" $log/RedirectLog+Recovery.swift \
    'if !stale.isEmpty { try repairAll(whole: whole) }' ''
plant "moving an older record over a newer one" $log/RedirectLog+Commit.swift \
    'for redirect in index.redirects(image: number, record.range) where redirect.position == record.horizon {
                index.insert(image: number, redirect.range, position: record.position)
            }' 'index.insert(image: number, record.range, position: record.position)'
plant "forgetting the blocks of an image that cannot be opened" $log/Destager.swift \
    'guard let target = try openImage(image) else { let everything' \
    'guard let target = try? openImage(image) else { let everything'
plant "evacuating the blocks of an image that cannot be opened to nowhere" $log/Destager.swift \
    'guard let target = try openImage(image) else { return 0 }' \
    'guard let target = try? openImage(image) else { return 0 }'
plant "a good checkpoint undoes a failure" $log/RedirectLog+Checkpoint.swift \
    '} else { state.superblock = superblock }' '} else { state.superblock = superblock; state.failure = nil }'
plant "a failed log commits what waits" $log/RedirectLog+Commit.swift \
    'if let failure = state.failure { throw failure } let batch = state.open' \
    'if let failure = state.failure, failure.errorNumber != 125 { throw failure }; let batch = state.open'
plant "taking the devices in another layout" $log/LogPlace.swift \
    'guard layout == self.layout, count == self.count else { return .layout }' ''
plant "taking the devices of a stripe in another order" $log/LogPlace.swift \
    'return layout == .stripe && index != self.index ? .order : nil' 'return nil'
plant "leaving a device two generations behind" $log/RedirectLog+Recovery.swift \
    'if !isEverywhere, state.superblock.place != nil { try ring.complete(state.superblock) }' ''
plant "taking a side for whole that a failing device could not be compared with" $log/RedirectLog+Mirror.swift \
    'var found = try find(redirect, image, on: whole)' \
    'try scrub(redirect, image); if true { continue }; var found = try find(redirect, image, on: whole)'
plant "taking what an older copy has of another log" \
    $log/RedirectLog+Recovery.swift '(first...superblock.epoch).contains($0.epoch)' '$0.epoch >= 0' \
    $log/RedirectLog+Recovery.swift 'if let found = try nextRecord(at: position, reader, on: whole) { return found }' '' \
    $log/RedirectLog+Recovery.swift 'guard whole.count < reader.sides.count else { return nil }' ''
plantAll "$@"
