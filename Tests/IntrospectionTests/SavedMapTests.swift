import BlockStorage
import Foundation
import TestTools
import Testing

@testable import Introspection

/// Maps that are saved and loaded again: the same map, or an error, whatever the file holds.
@Suite struct SavedMapTests {
    private static let recipe = ImageRecipe(type: "ext4", blockSize: 1024)

    private func withMap(
        of recipe: ImageRecipe = recipe, _ body: (FileDevice, SavedMap) throws -> Void
    ) throws {
        try withImage(recipe) { image in
            let device = try FileDevice(path: image, access: .readWrite, mode: .buffered)
            let stamp = try #require(SavedMap.FileStamp(location: ByteString(image)))
            let result = try DiskIntrospector.savedMap(of: DeviceReader(device), name: image, files: [stamp])
            try body(device, try #require(result?.map))
        }
    }

    private func classes(of introspector: DiskIntrospector) -> [String] {
        var runs: [String] = []
        introspector.forEachClass(in: ByteRange(offset: 0, length: introspector.diskSize)) {
            runs.append("\($0) \($1)")
        }
        return runs
    }

    /// The bytes of a map's file with a checksum that is right for them.
    private func resealed(_ bytes: [UInt8]) -> [UInt8] {
        let checksum = bytes[32...].withUnsafeBytes(CRC32C.checksum)
        return bytes[..<20] + [0, 8, 16, 24].map { UInt8(truncatingIfNeeded: checksum >> $0) } + bytes[24...]
    }

    @Test(arguments: ImageRecipe.all)
    func loadedMapIsTheScannedOne(recipe: ImageRecipe) throws {
        try withMap(of: recipe) { device, map in
            let reader = DeviceReader(device)
            #expect(try SavedMap(decoding: map.encoded) == map)
            let loaded = DiskIntrospector(name: "loaded", diskSize: device.size)
            let report = try loaded.load(try SavedMap(decoding: map.encoded), files: map.files, reader)
            let scanned = DiskIntrospector(name: "scanned", diskSize: device.size)
            let scan = try scanned.scan(reader, parallelism: 4)
            #expect(report.problems.isEmpty)
            #expect(report.fileCounts == scan.fileCounts)
            #expect(report.bytesRead < scan.bytesRead / 4)
            #expect(classes(of: loaded) == classes(of: scanned))
        }
    }

    @Test func aMapOfAnotherTimeIsRefused() throws {
        try withMap { device, map in
            let introspector = DiskIntrospector(name: "disk", diskSize: device.size)
            func refusal(_ files: [SavedMap.FileStamp]) -> String? {
                do throws(SavedMapError) {
                    _ = try introspector.load(map, files: files, DeviceReader(device))
                    return nil
                } catch {
                    return "\(error)"
                }
            }
            let stamp = map.files[0]
            let later = SavedMap.FileStamp(
                size: stamp.size, seconds: stamp.seconds, nanoseconds: stamp.nanoseconds &+ 1)
            #expect(refusal([later])?.contains("changed after it was made") == true)
            #expect(refusal([]) != nil)
            // The time of the superblock's last write, and a free count of a descriptor, without the file's stamp.
            for (offset, cause) in [(1024 + 48, "was written since"), (2048 + 12, "was written since")] {
                let old = try device.read(ByteRange(offset: offset, length: 1))
                try device.write([old[0] ^ 1], at: offset)
                #expect(refusal(map.files)?.contains(cause) == true)
                try device.write(old, at: offset)
            }
            #expect(introspector.status.state == .notScanned)
            #expect(refusal(map.files) == nil)
        }
    }

    /// The same map in the form of version 2: a bit for every block, and nothing said of sharing.
    private func versionTwo(_ map: SavedMap) throws -> [UInt8] {
        try #require(map.fileSystems.count == 1)
        let fileSystem = map.fileSystems[0]
        try #require(fileSystem.allocation.blocksPerBit == 1)
        var bytes = map.encoded
        let lists = [8 + 20 * fileSystem.runs.count, 8 + 20 * fileSystem.roots.count]
        var place = bytes.count - lists.reduce(0, +)
        for length in lists {
            for run in stride(from: place + 8, to: place + length, by: 20) { bytes[run + 18] &= 1 }
            place += length
        }
        // After size, files, count of file systems, name, checksum, four counts, and the number of blocks.
        let blocksPerBit = 32 + 8 + 4 + 20 * map.files.count + 4 + 4 + fileSystem.volume.utf8.count + 4 + 32 + 8
        try #require(Array(bytes[blocksPerBit..<blocksPerBit + 4]) == [1, 0, 0, 0])
        bytes.removeSubrange(blocksPerBit..<blocksPerBit + 4)
        bytes[16] = 2
        let length = bytes.count - 32
        for index in 0..<8 { bytes[24 + index] = UInt8(truncatingIfNeeded: length >> (8 * index)) }
        return resealed(bytes)
    }

    @Test func aMapOfTheFormBeforeIsTheScannedOne() throws {
        try withMap { device, map in
            let bytes = try versionTwo(map)
            let old = try SavedMap(decoding: bytes)
            #expect(bytes != map.encoded && old.fileSystems[0].allocation == map.fileSystems[0].allocation)
            let loaded = DiskIntrospector(name: "loaded", diskSize: device.size)
            let report = try loaded.load(old, files: map.files, DeviceReader(device))
            #expect(report.problems.isEmpty && loaded.status.state == .current)
            let scanned = DiskIntrospector(name: "scanned", diskSize: device.size)
            _ = try scanned.scan(DeviceReader(device), parallelism: 4)
            #expect(classes(of: loaded) == classes(of: scanned))
            // It did not say, so any block of attributes may be; it is saved in the form of now.
            for run in old.fileSystems[0].runs where run.blockClass == .extendedAttribute {
                #expect(run.isShared == (run.count == 1))
            }
            #expect(old.encoded[16] == 3)
            #expect(try SavedMap(decoding: old.encoded) == old)
        }
    }

    @Test(arguments: [0, 1, 4, 200] as [UInt8]) func aFormThatIsNotKnownIsRefusedByItsVersion(version: UInt8) throws {
        try withMap { _, map in
            var bytes = map.encoded
            bytes[16] = version
            do throws(SavedMapError) {
                _ = try SavedMap(decoding: bytes)
                Issue.record("was taken")
            } catch {
                #expect("\(error)".contains("a saved map of version \(version), expected 2 to 3"))
            }
        }
    }

    @Test func aDamagedFileIsRefused() throws {
        try withMap { _, map in
            let bytes = map.encoded
            var random = SplitMix64(seed: 1)
            for length in [0, 15, 31, 32, bytes.count - 1] {
                #expect(throws: SavedMapError.self) { try SavedMap(decoding: Array(bytes[..<length])) }
            }
            for _ in 0..<500 {
                var damaged = bytes
                damaged[Int.random(in: 0..<bytes.count, using: &random)] ^= 1 << UInt8.random(in: 0..<8, using: &random)
                #expect(throws: SavedMapError.self) { try SavedMap(decoding: damaged) }
            }
        }
    }

    /// Whoever can write the file can give it any numbers and the checksum for them.
    @Test func hostileNumbersAreRefusedOrMakeAMapThatAnswers() throws {
        let rounds = ProcessInfo.processInfo.environment["INTROSPECT_HOSTILE_MAPS"].flatMap(Int.init) ?? 400
        try withMap { device, map in
            let bytes = map.encoded
            // All but the allocation bits, any of which make sense.
            let bits = map.fileSystems[0].allocation.chunks.reduce(0) { $0 + ($1.count > 1 ? 1 + 8 * $1.count : 1) }
            let tail = 16 + 20 * (map.fileSystems[0].runs.count + map.fileSystems[0].roots.count)
            let places = Array(32..<bytes.count - tail - bits) + Array(bytes.count - tail..<bytes.count)
            var random = SplitMix64(seed: 7)
            var outcomes = (refused: 0, loaded: 0)
            for _ in 0..<rounds {
                var hostile = bytes
                for _ in 0..<Int.random(in: 1...3, using: &random) {
                    let place = places.randomElement(using: &random) ?? 32
                    hostile[place] = [0, 1, 0x7F, 0x80, 0xFF].randomElement(using: &random) ?? 0
                }
                if Bool.random(using: &random) {
                    hostile = Array(hostile.dropLast(Int.random(in: 0..<64, using: &random)))
                }
                let introspector = DiskIntrospector(name: "disk", diskSize: device.size)
                do throws(SavedMapError) {
                    let map = try SavedMap(decoding: resealed(hostile))
                    _ = try introspector.load(map, files: map.files, DeviceReader(device))
                    outcomes.loaded += 1
                } catch {
                    outcomes.refused += 1
                }
                _ = introspector.digest(DeviceReader(device))
                #expect(!classes(of: introspector).isEmpty)
            }
            #expect(outcomes.refused > rounds / 10)
            #expect(outcomes.loaded > rounds / 100)
        }
    }
}
