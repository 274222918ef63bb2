#!/bin/bash
# Plants bugs in the redirect log, one after the other, in a copy of the sources, and runs the simulator on each: it must
# find every one. Prints the first seeds that do. Takes about ten minutes; `run.sh EXPRESSION` takes the bugs whose name
# matches.
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
log=Sources/Tiering/RedirectLog
wanted=${1:-}
missed=0
options=(-c release -Xswiftc -enable-testing)

simulate() {
    swift build "${options[@]}" --build-tests >build.log 2>&1 || { cat build.log; exit 1; }
    INTROSPECT_SCHEDULES=${INTROSPECT_SCHEDULES:-2000} timeout 600 \
        swift test "${options[@]}" --skip-build --filter SimulationTests >test.log 2>&1
}

# plant NAME FILE TEXT REPLACEMENT: TEXT, which the file holds once (a run of white space counts as one blank), is
# replaced.
plant() {
    [[ $1 =~ $wanted ]] || return 0
    cp "$log/$2" original
    python3 - "$log/$2" "$3" "$4" <<'PYTHON'
import re, sys
path, text, replacement = sys.argv[1:]
pattern = r"\s+".join(re.escape(word) for word in text.split())
source, count = re.subn(pattern, lambda _: replacement, open(path).read())
assert count == 1, f"{path}: {count} places hold {text!r}"
open(path, "w").write(source)
PYTHON
    if simulate; then
        echo "$1: NOT FOUND"
        missed=1
    else
        count=$(grep -cE '(↳|issue).*seed [0-9]+' test.log || true)
        seeds=$(grep -m 4 -oE 'seed [0-9]+(, crash at access [0-9]+)?: ' test.log | tr '\n' ' ')
        [[ -n $seeds ]] && echo "$1: found $count times, first by $seeds" || { tail -20 test.log; missed=1; }
    fi
    cp original "$log/$2"
}

if [[ -z $wanted ]]; then
    simulate || { tail -20 test.log; exit 1; }
    echo "no bug: nothing found"
fi
plant "dropping the sync of a commit" RedirectLog+Commit.swift \
    'try ring.write(batch.bytes, at: batch.start) try ring.flush()' \
    'try ring.write(batch.bytes, at: batch.start)'
plant "dropping the sync of a checkpoint" RedirectLog+Commit.swift \
    'try ring.write(checkpoint.bytes, at: checkpoint.start) try ring.flush()' \
    'try ring.write(checkpoint.bytes, at: checkpoint.start)'
plant "dropping the sync of an image" DestageStep.swift \
    'try device.flush()' ''
plant "reusing a segment early: live redirects" RedirectLog+Commit.swift \
    'min(oldestLive(geometry), superblock.checkpoint ?? 0)' 'superblock.checkpoint ?? 0'
plant "replaying out of order: older records win" RedirectLog+Commit.swift \
    'case .write: index.insert(image: number, record.range, position: record.position)' \
    'case .write: if !index.hasRedirect(image: number, record.range) { index.insert(image: number, record.range, position: record.position) }'
plant "replaying a settlement over newer records" RedirectLog+Commit.swift \
    'index.remove(image: number, range, before: record.horizon)' 'index.remove(image: number, range)'
plant "replaying what an epoch left behind" RedirectLog+Recovery.swift \
    'position < state.superblock.epochStart || $0.epoch == state.superblock.epoch' \
    '$0.position >= 0'
plant "acknowledging before the group commit" RedirectLog.swift \
    'try commit(through: batch) return true' 'return true'
plant "forgetting the redirect on a partial overwrite: routing" RedirectIndex.swift \
    'for (region, start, end) in parts(of: range, image: image) where !indices(of: region, from: start, to: end).isEmpty { return true } return false' \
    'return redirects(image: image, range).first?.range == range'
plant "forgetting the redirect on a partial overwrite: index" RedirectIndex.swift \
    'for part in [extent.part(0, start), extent.part(end, .max)].compactMap(\.self) {' \
    'for part in [extent.part(0, start)].compactMap(\.self) {'
plant "settling before the image is synced" DestageStep.swift \
    'try device.flush()' 'try log.settle(ranges, of: image, before: horizon); try device.flush()'
plant "forgetting what a failed commit may have left" RedirectLog+Commit.swift \
    'state.inDoubt.insert(image: number, entry.record.range, position: entry.record.position)' '_ = number'
plant "flushing one side of a mirror" LogRing.swift \
    'for side in sides { try side.flush() }' 'try sides[0].flush()'
plant "leaving the end of a mirror unequal" RedirectLog+Recovery.swift \
    'try writeAgain(lastCommit)' ''
plant "forgetting an evacuated log before that is on record" Destager.swift \
    'try record() log.abandon()' 'log.abandon(); try record()'
plant "laying older blocks over what was written through" DestageStep.swift \
    'index < run.upperBound, items[index].redirect.position == redirect.position,' 'index < run.upperBound,'
plant "not holding the range that is destaged" DestageStep.swift \
    'try target.exclusively(range) { () throws(StorageError) in
                for part' 'do { for part'
plant "going by a superblock that one copy has" LogRing.swift \
    'for slot in [first, 1 - first] {' 'for slot in [first] {'
plant "not repairing what a side of a mirror lacks" RedirectLog+Recovery.swift \
    'try repair(lacking.filter { $0.found.record.position < lastStart })' ''
plant "not comparing all of an older copy" RedirectLog+Recovery.swift \
    'if !stale.isEmpty { try repairAll() }' ''
plant "moving an older record over a newer one" RedirectLog+Commit.swift \
    'for redirect in index.redirects(image: number, record.range) where redirect.position == record.horizon {
                index.insert(image: number, redirect.range, position: record.position)
            }' 'index.insert(image: number, record.range, position: record.position)'
exit $missed
