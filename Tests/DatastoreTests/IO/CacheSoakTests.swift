import BlockStorage
import Glibc
import Logging
import NIOCore
import TestTools
import Testing

@testable import Datastore

/// Images that come, go, change their names and are replaced, by clients and behind the server's back, for as many
/// seconds as `INTROSPECT_SOAK_SECONDS` says.
///
/// Every read is of the file that its handle names, the cache stays within its budget, and nothing is left of images
/// that are gone. The memory of the process is looked at when the test runs long, and so alone.
@Suite(.serialized)
struct CacheSoakTests {
    private static let seconds = getenv("INTROSPECT_SOAK_SECONDS").flatMap { Double(String(cString: $0)) } ?? 4
    private static let isLong = seconds >= 60
    private static let cacheSize = isLong ? 32 << 20 : 2 << 20
    private static let imageSize = 16 << 20
    private static let slots = isLong ? 24 : 6
    private static let readsPerStep = 40
    /// In pages: enough that the cache is too small for all images.
    private static let longestRead = 16
    private static let pageSize = 4096

    /// One image: what it holds is the template, with its number in the first bytes of each page of one guest file.
    private final class World {
        let datastore: Datastore
        let export: String
        let root: FileHandle
        let template: [UInt8]
        /// The pages of the guest file.
        let marked: Range<Int>
        var random: SplitMix64
        /// The number of the image that a name stands for.
        var images: [String: UInt64] = [:]
        var nextNumber: UInt64 = 1
        var steps = 0
        var reads = 0

        init(in directory: String, seed: UInt64) throws {
            export = "\(directory)/export"
            mkdir(export, 0o755)
            mkdir("\(directory)/guest", 0o755)
            for number in 0..<100 { mkdir("\(directory)/guest/\(number)", 0o755) }
            let mark = [UInt8](repeating: 0xA5, count: 4 << 20)
            let file = open("\(directory)/guest/file", O_WRONLY | O_CREAT, 0o644)
            #expect(Glibc.write(file, mark, mark.count) == mark.count)
            close(file)
            try runTool(
                "mke2fs",
                [
                    "-q", "-t", "ext4", "-b", "4096", "-d", "\(directory)/guest", "\(directory)/template.img",
                    "\(CacheSoakTests.imageSize >> 12)",
                ])
            let device = try FileDevice(
                path: "\(directory)/template.img", access: .readOnly, mode: .buffered)
            let bytes = try device.read(ByteRange(offset: 0, length: device.size))
            let pages = (0..<bytes.count / pageSize).filter { page in
                bytes[page * pageSize..<(page + 1) * pageSize].allSatisfy { $0 == 0xA5 }
            }
            let first = try #require(pages.first)
            marked = first..<first + 512
            #expect(Array(marked) == Array(pages.prefix(512)), "mke2fs lays the file out in one piece")
            template = bytes
            var configuration = DatastoreConfiguration(
                exports: [.init(path: export)], stateDirectory: "\(directory)/state")
            configuration.cacheSize = cacheSize
            var logger = Logger(label: "soak")
            logger.logLevel = .critical
            datastore = try Datastore(configuration: configuration, logger: logger)
            root = try datastore.mount(export, client: .loopback)
            random = SplitMix64(seed: seed)
        }

        /// Makes an image of a new number at a path of the server, as another program would.
        func makeImage(_ path: String) throws -> UInt64 {
            let number = nextNumber
            nextNumber += 1
            let file = open(path, O_WRONLY | O_CREAT | O_EXCL, 0o644)
            defer { close(file) }
            try #require(Glibc.write(file, template, template.count) == template.count)
            for page in marked {
                withUnsafeBytes(of: number.littleEndian) { _ = pwrite(file, $0.baseAddress, 8, page * pageSize) }
            }
            return number
        }

        func step() throws {
            steps += 1
            let name = "disk\(Int.random(in: 0..<slots, using: &random)).img"
            guard let number = images[name] else {
                images[name] = try makeImage("\(export)/\(name)")
                return
            }
            switch Int.random(in: 0..<20, using: &random) {
            case 0:
                _ = try datastore.remove(root, FileName(name), as: .root)
                images[name] = nil
            case 1:
                unlink("\(export)/\(name)")
                images[name] = nil
            case 2:
                let other = "disk\(Int.random(in: 0..<slots, using: &random)).img"
                guard other != name else { return }
                _ = try datastore.rename(root, FileName(name), to: root, FileName(other), as: .root)
                images[other] = number
                images[name] = nil
            case 3:
                let replacement = try makeImage("\(export)/.new")
                rename("\(export)/.new", "\(export)/\(name)")
                images[name] = replacement
            default:
                try read(name, number)
            }
        }

        /// Reads pages of the marked file, and metadata, by the server's two paths.
        private func read(_ name: String, _ number: UInt64) throws {
            let handle = try datastore.lookup(root, FileName(name), as: .root).handle
            for _ in 0..<readsPerStep {
                let isMarked = Bool.random(using: &random)
                let page = isMarked ? Int.random(in: marked, using: &random) : Int.random(in: 0..<400, using: &random)
                let (start, count) = (page * pageSize, Int.random(in: 1...longestRead, using: &random) * pageSize)
                var buffer = ByteBuffer()
                if try datastore.readFromCache(
                    handle, offset: UInt64(start), count: count, as: .root, into: &buffer) == nil
                {
                    _ = try datastore.read(handle, offset: UInt64(start), count: count, as: .root, into: &buffer)
                }
                reads += 1
                var expected = Array(template[start..<start + count])
                for page in page..<page + count / pageSize where marked.contains(page) {
                    expected.store(number, at: page * pageSize - start)
                }
                #expect(Array(buffer.readableBytesView) == expected, "page \(page) of \(name), image \(number)")
            }
        }

        /// The bytes of the cache's pages by its own count.
        var cachedBytes: Int { datastore.files.cache.statistics().resident.reduce(0, +) * pageSize }
    }

    @Test func cacheStaysWithinItsBudgetWhileImagesComeAndGo() throws {
        try withTemporaryDirectory { directory in
            let world = try World(in: directory, seed: 11)
            defer { world.datastore.close() }
            #expect(world.datastore.files.cache.byteCount <= Self.cacheSize)
            let start = ContinuousClock.now
            // Peaks: a scan that is under way takes memory for its time.
            var peaks = [0, 0, 0, 0]
            while start.duration(to: .now) < .seconds(Self.seconds) {
                try world.step()
                guard world.steps.isMultiple(of: 10) else { continue }
                #expect(world.cachedBytes <= Self.cacheSize)
                let quarter = min(3, Int(start.duration(to: .now) / .seconds(Self.seconds) * 4))
                peaks[quarter] = max(peaks[quarter], residentBytes())
            }
            print(
                "soak of \(Int(Self.seconds)) s: \(world.steps) steps, \(world.nextNumber - 1) images, "
                    + "\(world.reads) reads; cache of \(Self.cacheSize) bytes, \(world.cachedBytes) in use; process "
                    + "at most, by quarters of the time, \(peaks) bytes")
            // In the first the cache fills up, and all buffers are used for the first time.
            if Self.isLong { #expect(peaks[3] - peaks[1] <= Self.cacheSize / 20) }
            try removeAllAndExpectNothingLeft(world)
        }
    }

    private func removeAllAndExpectNothingLeft(_ world: World) throws {
        for name in world.images.keys { unlink("\(world.export)/\(name)") }
        for _ in 0..<200 where world.cachedBytes > 0 || !world.datastore.files.sessions.isEmpty {
            usleep(50_000)
        }
        #expect(world.datastore.files.sessions.isEmpty)
        #expect(world.cachedBytes == 0)
    }

    /// The memory that the process has, in bytes.
    private func residentBytes() -> Int {
        guard let file = fopen("/proc/self/statm", "r") else { return 0 }
        defer { fclose(file) }
        var line = [CChar](repeating: 0, count: 128)
        guard fgets(&line, 128, file) != nil else { return 0 }
        let words = String(decoding: line.map { UInt8(bitPattern: $0) }, as: UTF8.self).split(separator: " ")
        return (words.count > 1 ? Int(words[1]) ?? 0 : 0) * Self.pageSize
    }
}
