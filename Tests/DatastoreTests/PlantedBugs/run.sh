#!/bin/bash
# Plants bugs in what the server knows of its images over restarts, one after the other, in a copy of the sources, and runs
# the simulation of servers on each: it must find every one. Prints the first seeds that do. Takes about half an hour;
# `run.sh EXPRESSION` takes the bugs whose name matches, `run.sh --check` looks whether each can be planted.
set -euo pipefail
root=$(cd "$(dirname "$0")/../../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
modules=(BlockStorage DiskImages Volumes GuestFilesystems Introspection Tiering Datastore)
mkdir -p "$work/Sources" "$work/Tests/DatastoreTests"
for module in CLinux CNettle "${modules[@]}"; do cp -r "$root/Sources/$module" "$work/Sources"; done
cp -r "$root/Tests/TestTools" "$work/Tests"
cp -r "$root"/Tests/DatastoreTests/{Simulation,Concurrently.swift,HandleAlias.swift} "$work/Tests/DatastoreTests"
version() { grep -oE "$1.git\", exact: \"[0-9.]+" "$root/Package.swift" | grep -oE '[0-9.]+$'; }
cat > "$work/Package.swift" <<PACKAGE
// swift-tools-version: 6.2
import PackageDescription

let below: [Target.Dependency] = ["CLinux", "CNettle"]
let names = "${modules[*]}".split(separator: " ").map(String.init)
let products: [Target.Dependency] = [
    .product(name: "NIOCore", package: "swift-nio"), .product(name: "Logging", package: "swift-log"),
]
let modules = names.indices.map { index in
    Target.target(
        name: names[index],
        dependencies: below + names[..<index].map { .target(name: \$0) } + (names[index] == "Datastore" ? products : []))
}

let package = Package(
    name: "planted",
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio.git", exact: "$(version swift-nio)"),
        .package(url: "https://github.com/apple/swift-log.git", exact: "$(version swift-log)"),
    ],
    targets: modules + [
        .target(name: "CLinux"),
        .systemLibrary(name: "CNettle", pkgConfig: "nettle"),
        .target(name: "TestTools", dependencies: ["BlockStorage"], path: "Tests/TestTools"),
        .testTarget(
            name: "DatastoreTests", dependencies: names.map { .target(name: \$0) } + ["TestTools"] + products),
    ],
    swiftLanguageModes: [.v6]
)
PACKAGE
cd "$work"
tests=TierSimulationTests schedules=400 options=()
# shellcheck source=../../TieringTests/PlantedBugs/plant.sh
source "$root/Tests/TieringTests/PlantedBugs/plant.sh"
tier=Datastore/Tier state=Datastore/State log=Tiering/RedirectLog

plant "taking an older copy of the log" $tier/LogNotes.swift \
    'if label.generation < notes.generation {' 'if label.generation < 0 {'
plant "not registering what the log must take" $tier/FileRedirects.swift \
    'if mode != .writethrough, isWanted || log.hasRedirect(range, of: image) {' 'if mode != .writethrough, isWanted {'
plant "letting a second server start" $state/ServerLocks.swift \
    'if flock(descriptor, LOCK_EX | LOCK_NB) == 0 {' 'if flock(descriptor, LOCK_EX | LOCK_NB) < 2 {' \
    $state/ServerLocks.swift 'guard mark.isExcluded(on: descriptor) else { return nil }' \
    'guard mark.isExcluded(on: descriptor), attempt == 0 else { return nil }'
plant "taking an error for a removal" \
    $tier/Datastore+Tier.swift '_ image: ImageIdentity) throws(StorageError) -> any DestageTarget {' \
    '_ image: ImageIdentity) throws(StorageError) -> (any DestageTarget)? {' \
    $tier/Datastore+Tier.swift 'let path = tier.register.entries[image]?.description ?? image.hexadecimal' \
    'if error.code == .stale { return nil }; let path = tier.register.entries[image]?.description ?? image.hexadecimal'
plant "taking the devices in another layout" $log/LogPlace.swift \
    'guard layout == self.layout, count == self.count else { return .layout }' ''
plant "taking the devices of a stripe in another order" $log/LogPlace.swift \
    'return layout == .stripe && index != self.index ? .order : nil' 'return nil'
plant "forgetting a removed image before that is durable" $tier/Datastore+Removal.swift \
    'try makeDurable() guard let removed' \
    'if let image = removed.flatMap(images.identity) { try? tier.forget(image) }; try makeDurable(); guard let removed'
plant "evacuating beside the commit under way" \
    $log/RedirectLog.swift 'beginToFail(failure) waitForCommit()' 'beginToFail(failure)' \
    $log/Destager.swift 'log.waitForCommit()' ''
plant "keeping blocks that were overtaken" $tier/RedirectTier+Attaching.swift \
    'for image in attachment.log.images where !register.contains(image) {' \
    'for image in attachment.log.images where image.bytes.isEmpty {'
plant "making a new handle key" Datastore/Datastore.swift 'mayMake: registers.areEmpty' 'mayMake: true' \
    Datastore/Datastore.swift 'try registers.check(handles, served: opened)' ''
plant "names that break the register" $state/RegisterForm.swift \
    'if (0x21...0x7E).contains(byte), byte != backslash {' \
    'if (0x21...0x7E).contains(byte) && byte != backslash || byte == 0x0D || byte == 0x0A {'
plant "taking a register that was cut off" \
    $state/RegisterForm.swift 'guard bytes.last == Self.newline else {' 'guard !bytes.isEmpty else {' \
    $state/RegisterForm.swift 'let count = try lineCount(of: texts[0], found: texts.count)' \
    'let count = min(try lineCount(of: texts[0], found: texts.count), max(0, texts.count - 2))' \
    $state/RegisterForm.swift 'guard Array(bytes[last...]) == Self.checksumLine(of: Array(bytes[..<last])) else {' \
    'guard last >= 0 else {'
plant "forgetting how images looked without their log" $tier/RedirectTier+Quarantine.swift \
    'changed.append(image) } else if attachment != nil { same.append(image) }' \
    'changed.append(image) } else { same.append(image) }'
plant "taking a disk error for a removal that had begun" $tier/Datastore+Removal.swift \
    'isMounted(handle, entry), isNameGone(entry, image) else' 'isMounted(handle, entry) else'
plant "looking for the name that an image had once" $tier/RedirectTier+Removal.swift \
    'images[image]?.path = path' ''
plant "registering what was resolved away from a failed log" $tier/RedirectTier+Quarantine.swift \
    'try register.remove([image]) } state.withLock { $0.refused[image] = nil }' \
    'try register.setQuarantined(false, image) }; state.withLock { $0.refused[image] = nil }'
plant "refusing a log that was just made" $tier/LogOpening.swift 'if label.isNew { continue }' ''
plant "keeping in doubt what nothing was acknowledged of" $log/Destager.swift 'done += log.imagesInDoubtAlone' ''
plantAll "$@"
