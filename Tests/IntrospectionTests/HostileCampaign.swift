import Foundation
import TestTools
import Testing

/// Rounds of hostile images against one server.
struct HostileCampaign: Codable, Sendable {
    /// What an image of 4 MiB may take above the cache, in bytes; all of a round together do.
    private static let mostMemory = 256 << 20
    /// What each image's own bytes are worth besides, where there are very many.
    private static let worth = HostileImage.largest

    let directory: String
    /// The first seed, and how many.
    let first: Int
    let count: Int
    /// What another tenant's call may wait, in milliseconds. By itself it is 200; other tests have the processors, too.
    let longestWait: Int

    /// Whether each known image is to be looked into by itself, too.
    private var isLong: Bool { count >= 1000 }
    /// Images of the generator that are in service at a time: a round takes a second at least.
    private var tenants: Int { isLong ? 64 : 8 }
    /// Images of a round that an administrator looks into.
    private var lookedInto: Int { 4 }

    /// Where a line is kept of each round that was worse than those before.
    var notes: String { "\(directory)/notes" }

    /// What the environment says, or else `usual`.
    static func setting(_ name: String, usual: Int) -> Int {
        ProcessInfo.processInfo.environment[name].flatMap { Int($0) } ?? usual
    }

    /// How long all may take.
    static var mostMinutes: Int { 10 + setting("INTROSPECT_HOSTILE", usual: 16) / 100 }

    func run() throws {
        // What a program says that ends by itself belongs there, too.
        let file = open(notes, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
        dup2(file, STDERR_FILENO)
        Self.leaveErrorsAlone()
        let bed = try HostileBed(in: directory)
        defer { bed.close() }
        var worst = HostileBed.Outcome()
        let known = try HostileImage.all()
        for image in known {
            #expect(image.storedBytes <= HostileImage.largest, "\(image.name): \(image.storedBytes)")
            if isLong { try check([image], bed, &worst) }
        }
        try check(known, bed, &worst)
        let templates = try HostileDisk.Template.all()
        for start in stride(from: first, to: first + count, by: tenants) {
            let seeds = start..<min(start + tenants, first + count)
            try check(seeds.map { HostileImage(seed: UInt64($0), templates) }, bed, &worst)
        }
        note("\(known.count) known images and \(count) of the generator: \(worst.description)")
    }

    /// Of every error that is thrown the test library keeps where it came from: with hostile images, which are refused a
    /// thousand times each, that takes a third of the time.
    private static func leaveErrorsAlone() {
        for hook in ["_swift_willThrow", "_swift_willThrowTypedImpl"] {
            dlsym(nil, hook)?.storeBytes(of: 0, as: Int.self)
        }
    }

    private func check(_ images: [HostileImage], _ bed: HostileBed, _ worst: inout HostileBed.Outcome) throws {
        let name = images.count > 1 ? "\(images[0].name) to \(images[images.count - 1].name)" : images[0].name
        var outcome = try bed.run(images, lookingInto: lookedInto)
        // What other programs have of the processors is not the images' doing.
        for _ in 0..<2 where outcome.wait > .milliseconds(longestWait) {
            let again = try bed.run(images, lookingInto: lookedInto)
            if again.wait < outcome.wait { (outcome.wait, outcome.call) = (again.wait, again.call) }
        }
        #expect(outcome.wait <= .milliseconds(longestWait), "\(name): \(outcome.call) waited")
        // What was freed after a round of many is not all given back before one of few.
        let room = Self.mostMemory + (images.count > 1 && tenants > 8 ? tenants * Self.worth : 0)
        #expect(outcome.memory <= room, "\(name)")
        #expect(outcome.unfinished == [], "\(name)")
        if worst.takeWorse(outcome) || images.count < 8 { note("\(name): \(outcome.description)") }
    }

    private func note(_ line: String) {
        guard let file = FileHandle(forUpdatingAtPath: notes) else { return }
        file.seekToEndOfFile()
        file.write(Data("\(line)\n".utf8))
    }
}
