import BlockStorage
import Foundation
import Glibc
import TestTools
import Testing
import Tiering

@testable import Datastore

/// What the server knows of its images over restarts: with the log, without it, and with what else may be missing.
@Suite(.serialized)
struct TierStateTests {
    private let bed: RedirectBed
    private var log: String { "\(bed.directory)/ssd/redirect.log" }
    private var elsewhere: String { "\(bed.directory)/elsewhere" }

    init() throws {
        bed = try RedirectBed()
    }

    /// Any client can make such a name.
    @Test(arguments: ["disk.img\r", "a\r\nlog 1", "a\nb", " "]) func noNameBreaksTheRegister(name: String) throws {
        #expect(rename(bed.path("other.img"), bed.path(name)) == 0)
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in
            offset = try bed.redirect(datastore, handle)
            let odd = try bed.handle(name, datastore)
            let place = try bed.inodeTable(datastore, odd, name) + 8192
            try #require(place == offset)
            try bed.write(RedirectBed.content[0], at: offset, odd, datastore)
        }
        try bed.serve(.writeback) { datastore, handle in
            try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
            try #expect(bed.read(offset, bed.handle(name, datastore), datastore) == RedirectBed.content)
            #expect(datastore.tierStatus().images.count == 2)
        }
        // Without the log both are refused.
        rename(log, elsewhere)
        try bed.serve(.writeback) { datastore, handle in
            #expect(failure { try bed.read(offset, handle, datastore) } == .io)
            #expect(failure { try bed.read(offset, bed.handle(name, datastore), datastore) } == .io)
        }
    }

    /// What was acknowledged after the copy was made is in the log, whatever the copy knows of it.
    @Test func anOlderStateDirectoryLosesNoBlocks() throws {
        let (state, copy) = ("\(bed.directory)/state", "\(bed.directory)/copy")
        var (offset, place) = (0, 0)
        try bed.serve(.writeback) { datastore, handle in offset = try bed.redirect(datastore, handle) }
        try runTool("cp", ["-a", state, copy])
        try bed.serve(.writeback) { datastore, _ in
            let other = try bed.handle("other.img", datastore)
            place = try bed.inodeTable(datastore, other, "other.img")
            try bed.write(7, at: place, other, datastore)
        }
        try runTool("rm", ["-r", state])
        rename(copy, state)
        for _ in 0..<2 {
            try bed.serve(.writeback) { datastore, handle in
                try #expect(bed.read(place, bed.handle("other.img", datastore), datastore).first == 7)
                try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
                #expect(datastore.tierStatus().images.count == 2)
            }
        }
    }

    /// Puts a copy of the state directory back in its place.
    private func restoreState(from copy: String) throws {
        try runTool("rm", ["-r", "\(bed.directory)/state"])
        try #require(rename(copy, "\(bed.directory)/state") == 0)
    }

    /// Whether that file is one that an administrator has let go once cannot be seen: neither is anything dropped that was
    /// acknowledged, nor laid over what clients may have written since.
    @Test(arguments: [true, false]) func anOlderStateDirectoryDropsNothingOfALogInAnotherFile(keepingLog: Bool) throws {
        let (copy, path) = ("\(bed.directory)/copy", bed.path("disk.img"))
        try bed.serve(.writeback) { _, _ in }
        try runTool("cp", ["-a", "\(bed.directory)/state", copy])
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in offset = try bed.redirect(datastore, handle) }
        let before = try bed.readFile(offset)
        try restoreState(from: copy)
        try runTool("cp", ["--sparse=never", log, elsewhere])
        try #require(rename(elsewhere, log) == 0)
        try bed.serve(.writeback) { datastore, handle in
            #expect(datastore.tierStatus().failure?.contains("another file") == true)
            #expect(failure { try bed.read(offset, handle, datastore) } == .io)
            #expect(failure { try datastore.attachTier() } != nil)
            try datastore.attachTier(adopting: true)
            #expect(bed.log.contains("1 images that it did not name are refused"))
        }
        // It stays so over a restart.
        try bed.serve(.writeback, drainTimeout: .seconds(10)) { datastore, handle in
            #expect(failure { try bed.read(offset, handle, datastore) } == .io)
            #expect(datastore.tierStatus().images.map(\.isRefused) == [true])
            #expect(datastore.tierStatus().liveBytes == 4096)
            _ = try bed.read(offset, bed.handle("other.img", datastore), datastore)
        }
        try #expect(bed.readFile(offset) == before)
        try bed.serve(.writeback) { datastore, handle in
            try datastore.resolve(path, keepingLog: keepingLog)
            try #expect(bed.read(offset, handle, datastore) == (keepingLog ? RedirectBed.content : before))
        }
    }

    /// An administrator has an older copy of the log count, and later has the first one back: clients have written since.
    @Test func whatWasWrittenWithAnotherLogIsNotOvertakenByTheFirst() throws {
        let older = "\(bed.directory)/older"
        try bed.serve(.writeback) { _, _ in }
        try runTool("cp", ["--sparse=never", log, older])
        for _ in 0..<3 { try bed.serve(.writeback) { _, _ in } }
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in offset = try bed.redirect(datastore, handle) }
        try #require(rename(log, elsewhere) == 0 && rename(older, log) == 0)
        try bed.serve(.writeback) { datastore, handle in
            try datastore.attachTier(adopting: true)
            try bed.write(2, at: offset, handle, datastore)
            try datastore.drain()
        }
        try #require(rename(elsewhere, log) == 0)
        try bed.serve(.writeback, drainTimeout: .seconds(10)) { datastore, handle in
            #expect(failure { try bed.read(offset, handle, datastore) } == .io)
            try datastore.attachTier(adopting: true)
            #expect(failure { try bed.read(offset, handle, datastore) } == .io)
            #expect(datastore.tierStatus().images.map(\.isRefused) == [true])
        }
        try #expect(bed.readFile(offset).first == 2)
    }

    /// Those that the older copy does not name are served while the log is not at hand.
    @Test(arguments: [false, true]) func whatIsWrittenUnderAnOlderStateDirectoryIsNotOvertaken(byAttaching: Bool) throws
    {
        let copy = "\(bed.directory)/copy"
        var offset = 0
        try bed.serve(.writeback) { datastore, _ in
            let other = try bed.handle("other.img", datastore)
            try bed.write(7, at: bed.inodeTable(datastore, other, "other.img"), other, datastore)
        }
        try runTool("cp", ["-a", "\(bed.directory)/state", copy])
        try bed.serve(.writeback) { datastore, handle in offset = try bed.redirect(datastore, handle) }
        try restoreState(from: copy)
        rename(log, elsewhere)
        try bed.serve(.writeback) { datastore, handle in
            try bed.write(2, at: offset, handle, datastore)
            rename(elsewhere, log)
            if byAttaching { try datastore.attachTier() }
        }
        try bed.serve(.writeback, drainTimeout: .seconds(10)) { datastore, handle in
            #expect(failure { try bed.read(offset, handle, datastore) } == .io)
            _ = try bed.read(0, bed.handle("other.img", datastore), datastore)
        }
        try #expect(bed.readFile(offset).first == 2)
        try bed.serve(.writeback) { datastore, handle in
            try datastore.resolve(bed.path("disk.img"), keepingLog: false)
            try #expect(bed.read(offset, handle, datastore).first == 2)
        }
    }

    /// It is open, and clients write to it, when the log comes back by which it is refused.
    @Test func anImageThatIsRefusedByAnAttachIsSoFromItsFirstMoment() throws {
        let copy = "\(bed.directory)/copy"
        var offset = 0
        try bed.serve(.writeback) { datastore, _ in
            let other = try bed.handle("other.img", datastore)
            try bed.write(7, at: bed.inodeTable(datastore, other, "other.img"), other, datastore)
        }
        try runTool("cp", ["-a", "\(bed.directory)/state", copy])
        try bed.serve(.writeback) { datastore, handle in offset = try bed.redirect(datastore, handle) }
        try restoreState(from: copy)
        rename(log, elsewhere)
        try bed.serve(.writeback) { datastore, handle in
            try bed.write(2, at: offset, handle, datastore)
            rename(elsewhere, log)
            // Without what follows when the log is in use: closing the files that are refused.
            _ = try datastore.tier.attach(byAdministrator: true)
            #expect(datastore.files.file(for: handle) != nil)
            let attachment = try #require(datastore.tier.attachment)
            #expect(throws: StorageError.self) { try attachment.destager.pass(sparing: 0) }
            #expect(failure { try bed.write(3, at: offset, handle, datastore) } == .io)
            // From the cache, as it was a moment ago, or not at all.
            let found = try? bed.read(offset, handle, datastore)
            #expect(found == nil || found?.first == 2)
            try #expect(bed.readFile(offset).first == 2)
        }
    }

    /// By an older copy nothing in the log is needed, and while it is away another takes its place: what was acknowledged since
    /// the copy was made is in it all the same.
    @Test(arguments: [DatastoreConfiguration.TierMode.writeback, nil])
    func aLogThatAnOlderStateDirectoryCalledVoidIsNotWrittenOver(mode: DatastoreConfiguration.TierMode?) throws {
        let (copy, kept) = ("\(bed.directory)/copy", "\(bed.directory)/kept")
        try bed.serve(.writeback) { _, _ in }
        try runTool("cp", ["-a", "\(bed.directory)/state", copy])
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in offset = try bed.redirect(datastore, handle) }
        try runTool("cp", ["-a", "\(bed.directory)/state", kept])
        try restoreState(from: copy)
        rename(log, elsewhere)
        try bed.serve(mode) { _, _ in }
        try #require(rename(elsewhere, log) == 0)
        if mode == nil {
            // It is not fenced, and whose blocks count is for an administrator to say.
            try bed.serve(.writeback) { datastore, handle in
                #expect(failure { try bed.read(offset, handle, datastore) } == .io)
                #expect(datastore.tierStatus().images.map(\.isRefused) == [true])
            }
        } else {
            #expect(throws: DatastoreError.self) { try bed.serve(.writeback) { _, _ in } }
        }
        try restoreState(from: kept)
        try bed.serve(.writeback) { datastore, handle in
            try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
        }
    }

    /// It tells that the log has blocks of images which it does not know, though no option names the log, or another.
    @Test(arguments: [nil, "empty"]) func anOlderStateDirectoryServesNothingWithoutTheLog(ssd: String?) throws {
        let copy = "\(bed.directory)/copy"
        mkdir("\(bed.directory)/empty", 0o700)
        func serve(_ body: (Datastore, HandleAlias) throws -> Void) throws {
            try bed.serve(ssd == nil ? nil : .writeback, ssd: [ssd ?? "ssd"], body)
        }
        try bed.serve(.writeback) { _, _ in }
        try runTool("cp", ["-a", "\(bed.directory)/state", copy])
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in offset = try bed.redirect(datastore, handle) }
        try restoreState(from: copy)
        try serve { datastore, handle in
            #expect(failure { try bed.read(offset, handle, datastore) } == .io)
            #expect(failure { try bed.write(2, at: offset, handle, datastore) } == .io)
            #expect(bed.log.contains("is an older copy than the redirect log in \(log)"))
        }
        try bed.serve(.writeback) { datastore, handle in
            try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
        }
    }

    /// What the options name was restored from a backup, and so was the state directory; the log goes on elsewhere.
    @Test func anOlderCopyOfTheLogIsNotTakenWhileTheLogIsElsewhere() throws {
        let copy = "\(bed.directory)/copy"
        mkdir("\(bed.directory)/older", 0o700)
        try bed.serve(.writeback) { _, _ in }
        try runTool("cp", ["-a", "\(bed.directory)/state", copy])
        try runTool("cp", ["--sparse=never", log, "\(bed.directory)/older/redirect.log"])
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in offset = try bed.redirect(datastore, handle) }
        try restoreState(from: copy)
        try bed.serve(.writeback, ssd: ["older"]) { datastore, handle in
            #expect(failure { try bed.read(offset, handle, datastore) } == .io)
            #expect(datastore.tierStatus().failure?.contains("than the redirect log in \(log)") == true)
        }
        try bed.serve(.writeback) { datastore, handle in
            try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
        }
    }

    /// The log was made anew since, so that the copy knows of another one.
    @Test(arguments: [DatastoreConfiguration.TierMode.writeback, nil], [0, 1])
    func anOlderStateDirectoryServesNothingWithoutALogThatIsNewer(
        mode: DatastoreConfiguration.TierMode?, copied: Int
    ) throws {
        let copy = "\(bed.directory)/copy"
        try bed.serve(.writeback) { datastore, _ in
            let other = try bed.handle("other.img", datastore)
            try bed.write(7, at: bed.inodeTable(datastore, other, "other.img"), other, datastore)
        }
        func copyState() throws { try runTool("cp", ["-a", "\(bed.directory)/state", copy]) }
        if copied == 0 { try copyState() }
        try bed.serve(.writeback) { datastore, _ in
            try datastore.detachTier()
            if copied == 1 { try copyState() }
            try datastore.attachTier()
        }
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in offset = try bed.redirect(datastore, handle) }
        try runTool("cp", ["-a", "\(bed.directory)/state", "\(bed.directory)/kept"])
        try restoreState(from: copy)
        if copied == 1, mode != nil {
            #expect(throws: DatastoreError.self) { try bed.serve(mode) { _, _ in } }
        } else {
            for _ in 0..<2 {
                try bed.serve(mode) { datastore, handle in
                    for name in ["disk.img", "other.img"] {
                        #expect(failure { try bed.read(offset, bed.handle(name, datastore), datastore) } == .io)
                    }
                }
            }
            #expect(bed.log.contains("\(log): the redirect log has blocks of images that"))
        }
        try runTool("cp", ["-a", "\(bed.directory)/state", copy])
        try restoreState(from: "\(bed.directory)/kept")
        try bed.serve(.writeback) { datastore, handle in
            try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
        }
        guard copied == 0 || mode == nil else { return }
        // An administrator gives it up under the older copy: that is so for good.
        try restoreState(from: copy)
        try bed.serve(mode) { datastore, handle in
            try datastore.detachTier(givingUp: true)
            try bed.write(2, at: offset, handle, datastore)
        }
        for mode in [nil, DatastoreConfiguration.TierMode.writeback] {
            try bed.serve(mode) { datastore, handle in
                try #expect(bed.read(offset, handle, datastore).first == 2)
            }
        }
    }

    /// What is noted of a log is of its directory, which may be reached in many ways.
    @Test func theFilesOfALogAreNotedByOneSpelling() throws {
        try #require(symlink("\(bed.directory)/ssd", "\(bed.directory)/link") == 0)
        var notes = LogNotes()
        let words = ["file", "\(bed.directory)/link/../link/redirect.log", "1", "2", "3"].map { Array($0.utf8) }
        #expect(notes.take(RegisterForm.Line(number: 1, words: words)) == nil)
        mkdir("\(bed.directory)/ssd", 0o700)
        #expect(notes.take(RegisterForm.Line(number: 1, words: words)) == nil)
        #expect(notes.files.keys.contains(Array(log.utf8)))
    }

    /// A mirror's other side was another server's.
    @Test func aSideOfAnotherServersMirrorKeepsNoImageFromBeingServed() throws {
        let (state, other) = ("\(bed.directory)/state", "\(bed.directory)/other")
        for name in ["theirs", "ssd2"] { mkdir("\(bed.directory)/\(name)", 0o700) }
        try bed.serve(.writeback, ssd: ["theirs"]) { datastore, handle in
            try bed.write(7, at: bed.inodeTable(datastore, handle), handle, datastore)
        }
        try #require(rename(state, other) == 0)
        var offset = 0
        try bed.serve(.writeback, ssd: ["ssd", "ssd2"], isMirrored: true) { datastore, handle in
            offset = try bed.redirect(datastore, handle)
        }
        try runTool("rm", ["\(bed.directory)/ssd2/redirect.log"])
        try runTool("cp", ["\(bed.directory)/theirs/redirect.log", "\(bed.directory)/ssd2/redirect.log"])
        try bed.serve(.writeback, ssd: ["ssd", "ssd2"], isMirrored: true) { datastore, handle in
            try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
        }
    }

    /// Another server may have its log now where this one's was.
    @Test func aLogOfAnotherServerKeepsNoImageFromBeingServed() throws {
        let (state, other) = ("\(bed.directory)/state", "\(bed.directory)/other")
        try bed.serve(.writeback) { datastore, _ in try datastore.detachTier() }
        try #require(rename(state, other) == 0)
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in offset = try bed.redirect(datastore, handle) }
        try #require(rename(state, "\(bed.directory)/second") == 0 && rename(other, state) == 0)
        try bed.serve(nil) { datastore, handle in _ = try bed.read(offset, handle, datastore) }
        #expect(throws: DatastoreError.self) { try bed.serve(.writeback) { _, _ in } }
    }

    /// A log that a newer state directory has taken out of use has nothing of any image.
    @Test func anEmptyLogKeepsNoImageFromBeingServed() throws {
        let copy = "\(bed.directory)/copy"
        try bed.serve(.writeback) { _, _ in }
        try runTool("cp", ["-a", "\(bed.directory)/state", copy])
        try bed.serve(.writeback) { datastore, _ in try datastore.detachTier() }
        try restoreState(from: copy)
        try bed.serve(nil) { datastore, handle in _ = try bed.read(0, handle, datastore) }
        try bed.serve(.writeback) { datastore, handle in _ = try bed.redirect(datastore, handle) }
    }

    /// That is no proof that nothing is needed of it (invariant 11); a log that others can write to is not believed.
    @Test(arguments: [false, true]) func aLogThatCannotBeLookedIntoIsNotFenced(isLink: Bool) throws {
        let (copy, real) = ("\(bed.directory)/copy", "\(bed.directory)/real")
        try bed.serve(.writeback) { _, _ in }
        try runTool("cp", ["-a", "\(bed.directory)/state", copy])
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in offset = try bed.redirect(datastore, handle) }
        try restoreState(from: copy)
        if isLink {
            try #require(rename(log, real) == 0 && symlink(real, log) == 0)
        } else {
            chmod(log, 0o666)
        }
        try bed.serve(nil) { _, _ in }
        #expect(bed.log.contains("whether images need the redirect log that was there cannot be told"))
        if isLink { try #require(rename(real, log) == 0) } else { chmod(log, 0o600) }
        try bed.serve(.writeback) { datastore, handle in
            #expect(failure { try bed.read(offset, handle, datastore) } == .io)
            try datastore.resolve(bed.path("disk.img"), keepingLog: true)
            try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
        }
    }

    /// A directory may be named in many ways.
    @Test func aCopyOfTheLogIsToldHoweverItsDirectoryIsNamed() throws {
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in offset = try bed.redirect(datastore, handle) }
        try runTool("cp", ["--sparse=never", log, elsewhere])
        try #require(rename(elsewhere, log) == 0)
        for name in ["ssd", "ssd/", "state/../ssd"] {
            try bed.serve(.writeback, ssd: [name]) { datastore, handle in
                #expect(failure { try bed.read(offset, handle, datastore) } == .io)
                #expect(datastore.tierStatus().failure?.contains("is another file than before") == true)
            }
        }
    }

    /// What clients write then is not overtaken, and nobody has to say anything again.
    @Test func aLogThatIsGivenUpUnderAnOlderStateDirectoryIsSoForGood() throws {
        let copy = "\(bed.directory)/copy"
        try bed.serve(.writeback) { _, _ in }
        try runTool("cp", ["-a", "\(bed.directory)/state", copy])
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in offset = try bed.redirect(datastore, handle) }
        let before = try bed.readFile(offset)
        try restoreState(from: copy)
        try bed.serve(nil) { datastore, handle in
            try datastore.detachTier(givingUp: true)
            try #expect(bed.read(offset, handle, datastore) == before)
            try bed.write(2, at: offset, handle, datastore)
        }
        for mode in [nil, DatastoreConfiguration.TierMode.writeback] {
            try bed.serve(mode) { datastore, handle in
                try #expect(bed.read(offset, handle, datastore).first == 2)
                #expect(datastore.tierStatus().images.isEmpty)
            }
        }
    }

    /// Of a mirror one side in the file that was noted tells that the log is the one that was used.
    @Test(arguments: [["ssd2"], ["ssd", "ssd2"]]) func anOlderStateDirectoryKnowsAMirrorByEitherSide(copied: [String])
        throws
    {
        let (ssd, copy) = (["ssd", "ssd2"], "\(bed.directory)/copy")
        func serve(_ body: (Datastore, HandleAlias) throws -> Void) throws {
            try bed.serve(.writeback, ssd: ssd, isMirrored: true, body)
        }
        try serve { _, _ in }
        try runTool("cp", ["-a", "\(bed.directory)/state", copy])
        var offset = 0
        try serve { datastore, handle in offset = try bed.redirect(datastore, handle) }
        try restoreState(from: copy)
        for side in copied {
            let log = "\(bed.directory)/\(side)/redirect.log"
            try runTool("cp", ["--sparse=never", log, elsewhere])
            try #require(rename(elsewhere, log) == 0)
        }
        let isKnown = copied.count < ssd.count
        try serve { datastore, handle in
            if !isKnown { try datastore.attachTier(adopting: true) }
            #expect(datastore.tierStatus().images.map(\.isRefused) == [!isKnown])
            if isKnown { try #expect(bed.read(offset, handle, datastore) == RedirectBed.content) }
        }
    }

    /// The log knows a file by one export's handle, and since it was not at hand at the start another export stands for all
    /// that show the file system: by that one's handle nothing is refused.
    @Test func whatIsRefusedByAnotherExportsHandleIsNotMoved() throws {
        let other = try #require(try exportThatStandsForTheFirst())
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in offset = try bed.redirect(datastore, handle) }
        let register = try RedirectRegister(in: StateDirectory(configured: "\(bed.directory)/state"), mayBeOld: false)
        try register.remove(register.entries.keys)
        try register.noteLacking(areDoubtful: true)
        let before = try bed.readFile(offset)
        rename(log, elsewhere)
        try bed.serve(.writeback, exports: ["export", other]) { datastore, _ in
            rename(elsewhere, log)
            try datastore.attachTier()
            #expect(datastore.tierStatus().images.map(\.isRefused) == [true])
            let attachment = try #require(datastore.tier.attachment)
            #expect(throws: StorageError.self) { try attachment.destager.pass(sparing: 0) }
            try #expect(bed.readFile(offset) == before)
        }
    }

    /// The name of a directory whose handles count when it is exported beside the first.
    private func exportThatStandsForTheFirst() throws -> String? {
        for batch in 0..<8 {
            let names = (0..<16).map { "export\(batch)-\($0)" }
            for name in names { mkdir("\(bed.directory)/\(name)", 0o755) }
            var ids: [UInt64] = []
            try bed.serve(nil, exports: ["export"] + names) { datastore, _ in ids = datastore.exports.map(\.id) }
            if let found = names.indices.first(where: { ids[$0 + 1] < ids[0] }) { return names[found] }
        }
        return nil
    }

    /// Of a register that may lack images nobody knows which ones need the log: while it is not at hand none is served.
    @Test(arguments: [DatastoreConfiguration.TierMode.writeback, nil])
    func withoutTheLogNothingIsServedThatMayNeedIt(mode: DatastoreConfiguration.TierMode?) throws {
        let state = "\(bed.directory)/state"
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in offset = try bed.redirect(datastore, handle) }
        func makeLacking() throws {
            let register = try RedirectRegister(in: StateDirectory(configured: state), mayBeOld: false)
            try register.remove(register.entries.keys)
            try register.noteLacking(areDoubtful: false)
        }
        try makeLacking()
        let before = try bed.readFile(offset)
        rename(log, elsewhere)
        try bed.serve(mode) { datastore, handle in
            for name in ["disk.img", "other.img"] {
                #expect(failure { try bed.read(0, bed.handle(name, datastore), datastore) } == .io)
            }
            #expect(failure { try bed.write(2, at: offset, handle, datastore) } == .io)
            #expect(datastore.tierStatus().state == .missing)
            #expect(datastore.tierStatus().failure?.contains("all files are refused") == true)
            #expect(bed.log.contains("by which images that nobody can name may lose blocks"))
            #expect(failure { try datastore.detachTier() } == .serverFault)
            guard mode != nil else { return }
            rename(elsewhere, log)
            try datastore.attachTier()
            try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
            rename(log, elsewhere)
        }
        rename(elsewhere, log)
        try bed.serve(.writeback) { datastore, handle in
            try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
        }
        try makeLacking()
        rename(log, elsewhere)
        try bed.serve(mode) { datastore, handle in
            try datastore.detachTier(givingUp: true)
            #expect(bed.log.contains("images that were not on record may have lost blocks"))
            #expect(datastore.tierStatus().failure?.contains("may have lost blocks") == true)
            try #expect(bed.read(offset, handle, datastore) == before)
        }
    }

    /// An image that has everything itself is served while the log is away that others need.
    @Test(arguments: [false, true]) func whatIsWrittenWithoutTheLogIsNotOvertakenByIt(byAttaching: Bool) throws {
        let modes = [("disk.img", DatastoreConfiguration.TierMode.writethrough)]
        var offset = 0
        try bed.serve(.writeback, modes: modes) { datastore, handle in
            offset = try bed.redirect(datastore, handle)
            let other = try bed.handle("other.img", datastore)
            try bed.write(1, at: bed.inodeTable(datastore, other, "other.img"), other, datastore)
            #expect(datastore.tierStatus().images.count == 2)
        }
        rename(log, elsewhere)
        try bed.serve(.writeback, modes: modes) { datastore, handle in
            #expect(failure { try bed.read(0, bed.handle("other.img", datastore), datastore) } == .io)
            try bed.write(2, at: offset, handle, datastore)
            rename(elsewhere, log)
            guard byAttaching else { return }
            try datastore.attachTier()
            try #expect(bed.read(offset, handle, datastore).first == 2)
            try #expect(bed.read(0, bed.handle("other.img", datastore), datastore).count == 4096)
        }
        // A start that belongs to another log looks into this one, and leaves it as it is.
        let (state, kept) = ("\(bed.directory)/state", "\(bed.directory)/kept")
        rename(state, kept)
        #expect(throws: (any Error).self) { try bed.serve(.writeback, modes: modes) { _, _ in } }
        try runTool("rm", ["-r", state])
        rename(kept, state)
        try bed.serve(.writeback, modes: modes) { datastore, handle in
            try #expect(bed.read(offset, handle, datastore).first == 2)
            try datastore.drain()
        }
        try #expect(bed.readFile(offset).first == 2)
    }

    /// The log takes what touches its blocks whatever the mode is now: then the image needs the log.
    @Test(arguments: [DatastoreConfiguration.TierMode.off, .writeback])
    func anImageIsRegisteredBeforeTheLogAloneHasAWrite(mode: DatastoreConfiguration.TierMode) throws {
        var offset = 0
        try bed.serve(.writethrough, classes: .metadata, modes: [("moved.img", mode)]) { datastore, handle in
            offset = try bed.redirect(datastore, handle)
            let file = try #require(datastore.files.file(for: handle))
            let redirects = try #require(file.redirects)
            #expect(!datastore.tier.register.contains(redirects.image))
            // It cannot be moved to the image meanwhile.
            bed.faults.readsFail.store(true, ordering: .relaxed)
            defer { bed.faults.readsFail.store(false, ordering: .relaxed) }
            redirects.noteRename(to: bed.path("moved.img"))
            try bed.write(1, at: offset, handle, datastore)
            #expect(datastore.tierStatus().liveBytes == 4096)
            #expect(datastore.tier.register.contains(redirects.image))
        }
        try bed.serve(.writethrough) { datastore, handle in
            try #expect(bed.read(offset, handle, datastore).first == 1)
        }
    }

    @Test func aLostHandleKeyIsNotMadeAnew() throws {
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in offset = try bed.redirect(datastore, handle) }
        let key = "\(bed.directory)/state/handle-key"
        rename(key, "\(key).away")
        var message = ""
        for _ in 0..<2 {
            do {
                try bed.serve(.writeback) { _, _ in Issue.record("was started") }
            } catch let error as DatastoreError {
                message = error.message
            }
            #expect(message.contains("\(key) is missing"))
            #expect(access(key, F_OK) != 0)
        }
        // Nor is another taken for it.
        try Data(repeating: 7, count: 32).write(to: URL(filePath: key))
        chmod(key, 0o600)
        do {
            try bed.serve(.writeback) { _, _ in Issue.record("was started") }
        } catch let error as DatastoreError {
            message = error.message
        }
        #expect(message.contains("another handle key"))
        rename("\(key).away", key)
        try bed.serve(.writeback) { datastore, handle in
            try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
        }
    }

    /// A start without the log, in which nobody can compare, must not forget how the images looked.
    @Test(arguments: [false, true]) func aChangeIsFoundAfterAStartWithoutTheLog(whileServed: Bool) throws {
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in offset = try bed.redirect(datastore, handle) }
        rename(log, elsewhere)
        let change = {
            usleep(20_000)
            #expect(utimes(bed.path("disk.img"), nil) == 0)
        }
        try bed.serve(.writeback) { datastore, handle in
            #expect(failure { try bed.read(offset, handle, datastore) } == .io)
            if whileServed { change() }
        }
        if !whileServed { change() }
        rename(elsewhere, log)
        try bed.serve(.writeback, drainTimeout: .seconds(10)) { datastore, handle in
            #expect(datastore.tierStatus().images.map(\.isRefused) == [true])
            #expect(failure { try bed.read(offset, handle, datastore) } == .io)
        }
        try #expect(bed.readFile(offset) != RedirectBed.content)
        try bed.serve(.writeback) { datastore, handle in
            try datastore.resolve(bed.path("disk.img"), keepingLog: true)
            try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
        }
    }

    @Test func anUnchangedImageIsServedAfterAStartWithoutTheLog() throws {
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in offset = try bed.redirect(datastore, handle) }
        rename(log, elsewhere)
        try bed.serve(.writeback) { datastore, handle in
            rename(elsewhere, log)
            try datastore.attachTier()
            try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
            try bed.write(3, at: offset, handle, datastore)
        }
        try bed.serve(.writeback) { datastore, handle in try #expect(bed.read(offset, handle, datastore).first == 3) }
    }

    /// What the administrator says of an image whose log is away holds when the log comes back.
    @Test func theFileCountsAlsoWhenTheLogIsAway() throws {
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in
            offset = try bed.redirect(datastore, handle)
            #expect(utimes(bed.path("disk.img"), nil) == 0)
            #expect(failure { try bed.read(offset, handle, datastore) } == .io)
        }
        rename(log, elsewhere)
        try bed.serve(.writeback) { datastore, handle in
            try datastore.resolve(bed.path("disk.img"), keepingLog: false)
            try bed.write(4, at: offset, handle, datastore)
        }
        rename(elsewhere, log)
        try bed.serve(.writeback) { datastore, handle in try #expect(bed.read(offset, handle, datastore).first == 4) }
    }

    /// Nobody would see what changes the image between that and the log's return.
    @Test func theLogCountsOnlyOnceItIsAtHand() throws {
        var offset = 0
        try bed.serve(.writeback) { datastore, handle in
            offset = try bed.redirect(datastore, handle)
            #expect(utimes(bed.path("disk.img"), nil) == 0)
            #expect(failure { try bed.read(offset, handle, datastore) } == .io)
        }
        rename(log, elsewhere)
        try bed.serve(.writeback) { datastore, handle in
            let path = bed.path("disk.img")
            #expect(failure { try datastore.resolve(path, keepingLog: true) } == .invalidArgument)
            rename(elsewhere, log)
            try datastore.attachTier()
            #expect(failure { try bed.read(offset, handle, datastore) } == .io)
            try datastore.resolve(path, keepingLog: true)
            try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
        }
    }

    /// What the server itself moved to an image just before it stopped is no change by somebody else.
    @Test(.enabled(if: isRoot, "mounts a file system")) func aPartialDrainIsNotTakenForAChangeAfterAPowerFailure()
        throws
    {
        try bed.withFileSystem { _ in
            var offset = 0
            try bed.serve(.writeback) { datastore, handle in
                offset = try bed.redirect(datastore, handle)
                // The inode table of the next group: what is moved, is moved by regions of 4 MiB.
                try bed.write(5, at: offset + (8 << 20), handle, datastore)
                // From now on the file has these blocks, so that no flush of theirs makes its time durable.
                try datastore.drain()
                try bed.write(RedirectBed.content[0], at: offset, handle, datastore)
                try bed.write(5, at: offset + (8 << 20), handle, datastore)
                try #require(datastore.tierStatus().liveBytes == 8192)
            }
            // No client writes now: nothing but the stop itself makes the time durable.
            try bed.serve(.writeback) { datastore, _ in
                try runTool("sync", ["--file-system", bed.path("disk.img")])
                usleep(20_000)
                let image = try #require(datastore.tier.register.entries.keys.first)
                let attachment = try #require(datastore.tier.attachment)
                try attachment.destager.drain(image, ByteRange(offset: offset + (8 << 20), length: 4096))
                #expect(datastore.tierStatus().liveBytes == 4096)
            }
            try bed.cutPower()
            try bed.serve(.writeback) { datastore, handle in
                #expect(datastore.tierStatus().images.map(\.isRefused) == [false])
                try #expect(bed.read(offset, handle, datastore) == RedirectBed.content)
                try #expect(bed.read(offset + (8 << 20), handle, datastore).first == 5)
            }
        }
    }

    /// An image whose mode is off by now, and that cannot be written.
    @Test(.enabled(if: isRoot, "mounts a file system")) func oneImageThatCannotBeWrittenKeepsNoOtherInTheLog() throws {
        try bed.withFileSystem { _ in
            try bed.serve(.writeback, modes: [("off.img", .off)]) { datastore, handle in
                _ = try bed.redirect(datastore, handle)
                let other = try bed.handle("other.img", datastore)
                try bed.write(1, at: bed.inodeTable(datastore, other, "other.img"), other, datastore)
                try runTool("chattr", ["+i", bed.path("disk.img")])
                defer { _ = try? runTool("chattr", ["-i", bed.path("disk.img")]) }
                datastore.files.file(for: handle)?.redirects?.noteRename(to: bed.path("off.img"))
                for _ in 0..<600 where datastore.tierStatus().liveBytes > 4096 { usleep(50_000) }
                #expect(datastore.tierStatus().images.map(\.path) == [bed.path("disk.img")])
            }
        }
    }
}
