import Glibc
import Testing

@testable import TestBed

/// What guests do in a benchmark, done here on a temporary directory.
struct GuestLoadTests {
    @Test func gammaSizesHaveTheMeanAndTheSpreadOfTheirShape() {
        var generator = SeededGenerator(seed: 3)
        let sizes = (0..<20_000).map { _ in Double(FileSizes.gamma(mean: 128 << 10).random(using: &generator)) }
        let mean = sizes.reduce(0, +) / Double(sizes.count)
        let variance = sizes.map { ($0 - mean) * ($0 - mean) }.reduce(0, +) / Double(sizes.count)
        #expect(abs(mean / Double(128 << 10) - 1) < 0.03)
        // A gamma distribution of shape k has a standard deviation of its mean over the root of k.
        #expect(abs(variance.squareRoot() / mean * 1.5.squareRoot() - 1) < 0.05)
    }

    @Test func everyRunDoesTheSameWork() throws {
        var answers: [[String]] = []
        for _ in 0..<2 {
            try Bed.with { bed in
                let temporary = try TemporaryDirectory(on: bed)
                let root = temporary.file("created")
                var said = [try GuestLoad.create(in: root, count: 250, seed: 5)]
                let files = try run("find", root, "-type", "f", "-printf", "%P\\n").split(separator: "\n")
                    .map(String.init).sorted()
                #expect(files.count == 250)
                #expect(try run("find", root, "-mindepth", "1", "-type", "d").split(separator: "\n").count == 3)
                said.append(try GuestLoad.serveWeb(from: root, files: files, count: 30, seed: 5))
                #expect(try run("stat", "--format", "%s", "\(root)/log") == "\(30 * 16384)\n")
                said.append(try GuestLoad.deliverMail(in: root, files: files, count: 64, seed: 5))
                #expect(try run("find", root, "-type", "f").split(separator: "\n").count == 251)
                let listing = "cd '\(root)' && find . -type f -size +0 -printf '%p %s\\n' | sort | sha256sum"
                said.append(try run("sh", "-c", listing))
                answers.append(said)
            }
        }
        #expect(answers[0] == answers[1])
    }

    @Test func whatIsNotThereIsAnError() {
        #expect(throws: TestBedError.self) {
            try GuestLoad.serveWeb(from: "/no/such", files: ["a"], count: 1, seed: 1)
        }
    }
}

/// How long the disk takes in the best order.
struct InOrderTimeTests {
    private let drive = Drive.mechanical(.mhz2250b)

    private func reads(_ offsets: [Int], length: Int) -> [DiskRequest] {
        offsets.map { DiskRequest(time: 0, kind: .read, offset: $0, length: length) }
    }

    @Test func aStretchTakesItsTransferTimeHoweverItWasAskedFor() {
        let offsets = (0..<320).map { (1 << 30) + $0 << 16 }
        let seconds = Double(drive.timeInOrder(of: reads(offsets, length: 1 << 16))) / 1e9
        let transfer = Double(320 << 16) / 65_000_000
        #expect(seconds > transfer && seconds < transfer * 1.25 + 0.05)
        let shuffled = drive.timeInOrder(of: reads(offsets.reversed(), length: 1 << 16))
        #expect(Double(shuffled) / 1e9 == seconds)
    }

    @Test func whatIsReadTwiceCountsOnceAndWritesDoNot() {
        let requests = reads([0, 1 << 30, 0], length: 4096)
        let writes = [DiskRequest(time: 0, kind: .write, offset: 8 << 30, length: 1 << 20)]
        #expect(drive.timeInOrder(of: requests + writes) == drive.timeInOrder(of: Array(requests.prefix(2))))
        #expect(drive.timeInOrder(of: []) == 0)
    }
}
