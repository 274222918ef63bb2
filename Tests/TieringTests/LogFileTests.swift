import BlockStorage
import Foundation
import Glibc
import TestTools
import Testing

@testable import Tiering

/// Whose files are taken for a log: guests' blocks are in it, and the server writes all over it.
struct LogFileTests {
    private static let size = LogFile.smallestSize

    private func error(_ directory: String) -> StorageError? {
        do throws(StorageError) {
            _ = try LogFile(directory: directory, size: Self.size)
            return nil
        } catch {
            return error
        }
    }

    private func content(_ path: String) throws -> String { try String(contentsOfFile: path, encoding: .utf8) }

    @Test func aLogIsTheServersOwn() throws {
        try withTemporaryDirectory { path in
            let file = "\(path)/\(LogFile.fileName)"
            #expect(error(path) == nil)
            var status = stat()
            #expect(lstat(file, &status) == 0 && status.st_mode == S_IFREG | 0o600 && status.st_size == Self.size)
            for mode in [0o620, 0o602] as [mode_t] {
                chmod(file, mode)
                #expect(error(path)?.errorNumber == EPERM, "mode \(mode)")
            }
            chmod(file, 0o600)
            #expect(error(path) == nil)
        }
    }

    @Test(.enabled(if: geteuid() == 0, "gives a file to another user")) func aLogOfAnotherUserIsRefused() throws {
        try withTemporaryDirectory { path in
            let file = "\(path)/\(LogFile.fileName)"
            try makeSparseFile(file, size: Self.size)
            chmod(file, 0o600)
            chown(file, 1000, 1000)
            #expect(error(path)?.errorNumber == EPERM)
        }
    }

    @Test func aLinkIsNotFollowed() throws {
        try withTemporaryDirectory { path in
            let file = "\(path)/\(LogFile.fileName)"
            try makeSparseFile("\(path)/log", size: Self.size)
            chmod("\(path)/log", 0o600)
            symlink("\(path)/log", file)
            #expect(error(path)?.errorNumber == ELOOP)
        }
    }

    /// Under the name that a log has while it is made.
    @Test func whatALinkNamesIsNotWrittenOver() throws {
        try withTemporaryDirectory { path in
            let file = "\(path)/\(LogFile.fileName)"
            try "precious".write(toFile: "\(path)/other", atomically: false, encoding: .utf8)
            symlink("\(path)/other", "\(file).new")
            #expect(error(path) == nil)
            try #expect(content("\(path)/other") == "precious")
            var status = stat()
            #expect(lstat(file, &status) == 0 && status.st_mode & S_IFMT == S_IFREG)
        }
    }

    /// A fifo would be waited for, and be found to be of no size.
    @Test func whatIsNoRegularFileIsRefused() throws {
        try withTemporaryDirectory { path in
            mkfifo("\(path)/\(LogFile.fileName)", 0o600)
            let error = error(path)
            #expect(error?.errorNumber == EINVAL)
            #expect("\(error.map { "\($0)" } ?? "")".contains("no regular file"))
        }
    }
}
