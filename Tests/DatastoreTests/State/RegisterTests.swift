import BlockStorage
import Foundation
import Glibc
import TestTools
import Testing
import Tiering

@testable import Datastore

/// What the state directory keeps: whole or refused, whatever is in a path.
struct RegisterTests {
    /// Paths that a client can make.
    private static let paths: [[UInt8]] =
        ["/srv/disk.img", "/srv/a b\\c", "/srv/CR\r", "/a\nb", "/CR\r\nLF", "/srv/\r\nlog 1", "/\u{301}e", ""]
        .map { Array($0.utf8) } + [[0x2F, 0xFF, 0xC3, 0x28], Array(1...255)]

    private func identity(_ number: Int) -> ImageIdentity {
        ImageIdentity(hexadecimal: "0\(number)a7ff") ?? .none
    }

    private func filled(_ state: StateDirectory) throws -> RedirectRegister {
        let register = try RedirectRegister(in: state, mayBeOld: true)
        try register.use(0xABC)
        try register.retire()
        try register.use(0xDEF)
        for (number, path) in Self.paths.enumerated() {
            try register.enter(identity(number), path: ByteString(path), mark: "1-2-3", for: 0xDEF)
        }
        try register.setQuarantined(true, identity(0))
        try register.changeImages { $0[identity(1)]?.isBeingRemoved = true }
        let time = FileTime(seconds: -5, nanoseconds: 999_999_999)
        try register.changeImages { $0[identity(2)]?.stopped = .init(size: .max, modificationTime: time) }
        return register
    }

    @Test func whatIsEnteredIsThereAfterARestart() throws {
        try withState { state in
            let register = try filled(state)
            let again = try RedirectRegister(in: state, mayBeOld: false)
            #expect(again.images == register.images && again.images.count == Self.paths.count)
            #expect(again.log == 0xDEF && again.isVoid(0xABC, epoch: 9))
            for (number, path) in Self.paths.enumerated() {
                #expect(again.entries[identity(number)]?.bytes == path)
            }
            #expect(again.isQuarantined(identity(0)) && again.entry(identity(1))?.isBeingRemoved == true)
            let files = try FileRegister("files", in: state, mayBeOld: true)
            for (number, path) in Self.paths.enumerated() {
                try files.enter(identity(number), path: ByteString(path))
            }
            #expect(try FileRegister("files", in: state, mayBeOld: false).entries == files.entries)
        }
    }

    @Test(arguments: [false, true]) func thatImagesAreLackingIsThereAfterARestart(areDoubtful: Bool) throws {
        try withState { state in
            let lacking = try #require(ImageIdentity(hexadecimal: "ffa7ff"))
            try filled(state).noteLacking(areDoubtful: areDoubtful)
            let register = try RedirectRegister(in: state, mayBeOld: false)
            #expect(register.mayLackImages)
            // Once they are doubtful they stay so.
            try register.noteLacking(areDoubtful: false)
            #expect(try register.complete(with: [identity(0), lacking]) == (areDoubtful ? 1 : 0))
            let again = try RedirectRegister(in: state, mayBeOld: false)
            #expect(!again.mayLackImages && again.isQuarantined(lacking) == areDoubtful)
        }
    }

    /// All of a register is written with each change: it must not grow with what clients call their files.
    @Test func ofLongPathsTheEndIsKept() throws {
        try withState { state in
            let path = [0x2F] + [UInt8](repeating: 0xFF, count: 3990) + Array("/disk.img".utf8)
            let files = try FileRegister(LateTimes.registerName, in: state, mayBeOld: true)
            let redirects = try RedirectRegister(in: state, mayBeOld: true)
            try redirects.use(0xDEF)
            for number in 0..<10 {
                // As the kernel's name of an open file is shown.
                let late = LateTimes(of: identity(number), in: files)
                #expect(late.mayBeLate(path: ByteString(path).description, atOnce: true))
                try redirects.enter(identity(number), path: ByteString(path), mark: "1-2-3", for: 0xDEF)
            }
            let kept = ByteString("...".utf8 + path.suffix(253))
            for (name, entries) in [
                (LateTimes.registerName, try FileRegister(LateTimes.registerName, in: state, mayBeOld: false).entries),
                (RedirectRegister.fileName, try RedirectRegister(in: state, mayBeOld: false).entries),
            ] {
                #expect(entries.count == 10 && entries.values.allSatisfy { $0 == kept })
                #expect(try Data(contentsOf: URL(filePath: "\(state.path)/\(name)")).count < 10 * 1200)
            }
        }
    }

    /// A WRITE whose time may or may not be late does not wait for a change of the register: it pays for its time.
    @Test func writesDoNotStandInLineForARegister() throws {
        try withState { state in
            let files = try FileRegister(LateTimes.registerName, in: state, mayBeOld: true)
            let (isChanging, goOn, isDone) = (
                DispatchSemaphore(value: 0), DispatchSemaphore(value: 0), DispatchSemaphore(value: 0)
            )
            let late = LateTimes(of: identity(1), in: files)
            let pool = IOPool(name: "test", threadCount: 2)
            pool.submit {
                let slow = sequence(state: 0) { (_: inout Int) -> ImageIdentity? in
                    isChanging.signal()
                    goOn.wait()
                    return nil
                }
                try? files.remove(slow)
            }
            isChanging.wait()
            pool.submit {
                for _ in 0..<64 { #expect(!late.mayBeLate(path: "/disk.img")) }
                isDone.signal()
            }
            #expect(isDone.wait(timeout: .now() + 10) == .success)
            goOn.signal()
            pool.shutDown()
            for _ in 0..<63 { #expect(!late.mayBeLate(path: "/disk.img")) }
            #expect(late.mayBeLate(path: "/disk.img"))
        }
    }

    /// What happens to a file that is about to go keeps it.
    @Test func aFileThatIsEnteredWhileItGoesStays() throws {
        try withState { state in
            let files = try FileRegister(LateTimes.registerName, in: state, mayBeOld: true)
            for number in 1...4 { try files.enter(identity(number), path: "/disk.img") }
            try files.remove((0...3).map(identity)) { file in
                #expect(file != identity(0) && !files.contains(file) && files.contains(identity(4)))
                if file == identity(2) {
                    #expect(LateTimes(of: file, in: files).mayStillBeLate(path: "/disk.img"))
                    #expect(files.contains(file))
                }
                return file != identity(3)
            }
            for files in [files, try FileRegister(LateTimes.registerName, in: state, mayBeOld: false)] {
                #expect(Set(files.entries.keys) == Set((2...4).map(identity)))
                #expect((2...4).allSatisfy { files.contains(identity($0)) })
            }
        }
    }

    @Test func aRegisterThatIsTornAtAnyByteIsRefused() throws {
        try withState { state in
            _ = try filled(state)
            let path = "\(state.path)/\(RedirectRegister.fileName)"
            let whole = try Data(contentsOf: URL(filePath: path))
            for count in 0..<whole.count {
                try write(whole.prefix(count), path)
                for mayBeOld in [false, true] {
                    let error = error { _ = try RedirectRegister(in: state, mayBeOld: mayBeOld) }
                    #expect(error?.message.contains("\(path), line ") == true, "\(count): \(String(describing: error))")
                    #expect(error?.message.contains("expected") == true)
                }
            }
        }
    }

    @Test func aRegisterWithOneWrongByteIsRefused() throws {
        try withState { state in
            _ = try filled(state)
            let path = "\(state.path)/\(RedirectRegister.fileName)"
            let whole = try Data(contentsOf: URL(filePath: path))
            for index in whole.indices {
                var damaged = whole
                damaged[index] ^= 0x04
                try write(damaged, path)
                #expect(error { _ = try RedirectRegister(in: state, mayBeOld: false) } != nil, "byte \(index)")
            }
        }
    }

    @Test func aNewerFormIsRefusedByItsVersion() throws {
        try withState { state in
            for first in ["introspect redirected-images 3 1", "introspect redirected-images 4"] {
                try write(Data("\(first)\nsomething new\n".utf8), "\(state.path)/\(RedirectRegister.fileName)")
                let message = error { _ = try RedirectRegister(in: state, mayBeOld: true) }?.message
                #expect(message?.contains("version \(first.split(separator: " ")[2])") == true)
                #expect(message?.contains("newer introspectd") == true)
            }
        }
    }

    /// As the release before this form wrote it: in any order, with nothing escaped.
    @Test func theFirstVersionIsReadAndUpgradedOnce() throws {
        try withState { state in
            let (quarantined, image, leftover) = ("01a7ff", "00a7ff", "05a7ff")
            let text = """
                image \(image) 1-2-3 /srv/ends in CR\r
                quarantined \(quarantined)  /srv/CR\r
                LF
                stopped \(image) 4096 1000 7
                stopped \(leftover) 8192 2000 0
                void abc
                log def

                """
            try write(Data(text.utf8), "\(state.path)/\(RedirectRegister.fileName)")
            try write(Data("\(image) /srv/a b\r\n\(quarantined) \n".utf8), "\(state.path)/\(LateTimes.registerName)")
            let registers = try Registers(in: state)
            try registers.upgrade()
            for registers in [registers, try Registers(in: state)] {
                let (redirects, lateTimes) = (registers.redirects, registers.lateTimes)
                #expect(redirects.log == 0xDEF && redirects.isVoid(0xABC, epoch: 9) && redirects.mayLackImages)
                #expect(redirects.entries[identity(0)] == ByteString("/srv/ends in CR\r"))
                #expect(redirects.entries[identity(1)] == ByteString("/srv/CR\r\nLF"))
                #expect(redirects.entry(identity(0))?.mark == "1-2-3")
                #expect(redirects.isQuarantined(identity(1)) && !redirects.isQuarantined(identity(0)))
                #expect(redirects.entry(identity(0))?.stopped?.size == 4096)
                #expect(redirects.entry(identity(5))?.stopped?.size == 8192)
                #expect(lateTimes.entries == [identity(0): ByteString("/srv/a b\r"), identity(1): ByteString("")])
            }
            // Of the first version it cannot be known whether it is whole.
            try write(Data(text.utf8), "\(state.path)/\(RedirectRegister.fileName)")
            #expect(error { _ = try Registers(in: state) } != nil)
        }
    }

    @Test func aRegisterThatHasGoneIsMissed() throws {
        try withState { state in
            try Registers(in: state).upgrade()
            for name in [RedirectRegister.fileName, LateTimes.registerName] {
                let path = "\(state.path)/\(name)"
                let whole = try Data(contentsOf: URL(filePath: path))
                for isEmpty in [false, true] {
                    if isEmpty { try write(Data(), path) } else { unlink(path) }
                    #expect(error { _ = try Registers(in: state) }?.message.contains(path) == true)
                }
                try write(whole, path)
                _ = try Registers(in: state)
            }
        }
    }

    private func withState(_ body: (StateDirectory) throws -> Void) throws {
        try withTemporaryDirectory { path in try body(StateDirectory(configured: "\(path)/state")) }
    }

    private func write(_ bytes: Data, _ path: String) throws {
        try bytes.write(to: URL(filePath: path))
        chmod(path, 0o600)
    }

    private func error(_ body: () throws -> Void) -> DatastoreError? {
        do {
            try body()
            return nil
        } catch {
            return error as? DatastoreError
        }
    }
}

extension ImageIdentity {
    fileprivate static var none: ImageIdentity { preconditionFailure("no identity") }
}
