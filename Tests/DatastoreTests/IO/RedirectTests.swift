import BlockStorage
import Foundation
import Glibc
import Logging
import TestTools
import Testing
import Tiering

@testable import Datastore

/// What becomes of images whose newest blocks are in the redirect log.
@Suite(.serialized)
struct RedirectTests {
    private let bed: RedirectBed

    init() throws {
        bed = try RedirectBed()
    }

    @Test func whatTheLogHasIsThereAfterARestartAndInTheImageAfterADrain() throws {
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in
            offset = try bed.redirect(datastore, handle)
            #expect(datastore.tierStatus().liveBytes == 4096)
            let bytes = try bed.read(offset, handle, datastore)
            #expect(bytes == RedirectBed.content)
        }
        try #expect(bed.readFile(offset) != RedirectBed.content)
        rename("\(bed.directory)/export/disk.img", "\(bed.directory)/export/renamed.img")
        rename("\(bed.directory)/export/renamed.img", "\(bed.directory)/export/disk.img")
        try bed.serve(.writeback, drainTimeout: .seconds(60)) { datastore, handle in
            // Not recognised yet: the log is asked all the same.
            let bytes = try bed.read(offset, handle, datastore)
            #expect(bytes == RedirectBed.content)
        }
        try #expect(bed.readFile(offset) == RedirectBed.content)
        try bed.serve(nil) { datastore, handle in
            let bytes = try bed.read(offset, handle, datastore)
            #expect(bytes == RedirectBed.content)
        }
    }

    @Test func anImageWithoutItsLogIsRefusedAndTheOthersAreServed() throws {
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in offset = try bed.redirect(datastore, handle) }
        try bed.serve(nil) { datastore, handle in
            #expect(failure { try bed.read(offset, handle, datastore) } == .io)
            let cut = AttributeChanges(size: 0)
            #expect(failure { try datastore.setAttributes(handle, cut, guard: nil, as: .root) } == .io)
            let other = try bed.handle("other.img", datastore)
            try #expect(bed.read(0, other, datastore).count == 4096)
        }
        rename("\(bed.directory)/ssd/redirect.log", "\(bed.directory)/elsewhere")
        try bed.serve(.writeback) { datastore, handle in
            #expect(failure { try bed.read(offset, handle, datastore) } == .io)
            let other = try bed.handle("other.img", datastore)
            try #expect(bed.read(0, other, datastore).count == 4096)
        }
        rename("\(bed.directory)/elsewhere", "\(bed.directory)/ssd/redirect.log")
        // The way out: the log takes no more, and what it has goes to the images.
        try bed.serve(.off, drainTimeout: .seconds(60)) { datastore, handle in
            let bytes = try bed.read(offset, handle, datastore)
            #expect(bytes == RedirectBed.content)
        }
        try #expect(bed.readFile(offset) == RedirectBed.content)
    }

    @Test func aRemovedImageTakesItsRedirectsWithIt() throws {
        try bed.serve(.writeback) { datastore, handle in
            _ = try bed.redirect(datastore, handle)
            let root = try datastore.mount(datastore.exports[0].path, client: .loopback)
            _ = try datastore.remove(root, FileName("disk.img"), as: .root)
            bed.expectEmptyLog(datastore)
        }
        let log = try RedirectLog(recovering: LogFile(directory: "\(bed.directory)/ssd", size: 0))
        #expect(log.liveByteCount == 0)
    }

    @Test func writethroughHasItInBothPlaces() throws {
        try bed.serve(.writethrough) { datastore, handle in
            let offset = try bed.redirect(datastore, handle)
            #expect(datastore.lateTimes.entries.count == 1, "the time of the write is nowhere durable")
            #expect(datastore.tierStatus().liveBytes == 4096)
            try #expect(bed.readFile(offset) == RedirectBed.content)
        }
        try bed.serve(nil) { datastore, handle in _ = try bed.read(0, handle, datastore) }
    }

    @Test func dataIsTakenWhereItIsWantedButForStreams() throws {
        let classes = try #require(RedirectClasses(names: "metadata,data"))
        #expect(RedirectClasses(names: "metadata,dta") == nil)
        try bed.serve(.writeback, classes: classes) { datastore, handle in
            let start = try bed.place(of: .free, length: 4 << 20, datastore, handle)
            for number in 0..<384 { try bed.write(0x11, at: start + number * 4096, handle, datastore) }
            #expect(datastore.tierStatus().liveBytes == SequentialWrites.streamLength)
            try #expect(bed.readFile(start) != [UInt8](repeating: 0x11, count: 4096))
            try #expect(bed.readFile(start + 383 * 4096) == [UInt8](repeating: 0x11, count: 4096))
            // What is redirected stays so, also when a stream writes it again.
            for number in 0..<384 { try bed.write(0x22, at: start + number * 4096, handle, datastore) }
            #expect(datastore.tierStatus().liveBytes == SequentialWrites.streamLength)
            for number in [0, 255, 256, 383] {
                try #expect(bed.read(start + number * 4096, handle, datastore).allSatisfy { $0 == 0x22 })
            }
        }
    }

    @Test func aLogThatClientsCouldReachIsRefused() throws {
        try FileManager.default.createDirectory(
            atPath: "\(bed.directory)/export/ssd", withIntermediateDirectories: true)
        var configuration = DatastoreConfiguration(
            exports: [.init(path: "\(bed.directory)/export")], stateDirectory: "\(bed.directory)/state")
        configuration.tier = .init(directories: ["\(bed.directory)/export/ssd"], mode: .writeback)
        let outcome = failure { try Datastore(configuration: configuration, logger: Logger(label: "test")) }
        #expect(outcome == .invalidArgument)
    }
}
