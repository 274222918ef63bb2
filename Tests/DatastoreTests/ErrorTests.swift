import Glibc
import Testing

@testable import Datastore

@Suite struct ErrorTests {
    /// What file systems say when their storage is at fault is an I/O error to clients, and never the server's own fault.
    @Test(
        arguments: [
            (EUCLEAN, .io), (EBADMSG, .io), (ENODATA, .io), (EREMOTEIO, .io), (ENOTCONN, .storeLost),
            (ESHUTDOWN, .storeLost),
            (EPROTO, .io), (ENOLINK, .io), (EILSEQ, .io), (ENOMEDIUM, .io), (EHOSTDOWN, .io), (ECONNABORTED, .io),
            (EKEYEXPIRED, .access), (EKEYREVOKED, .access), (ENOKEY, .access), (ESTALE, .stale), (EDQUOT, .quota),
            (ETIMEDOUT, .retryLater), (EMFILE, .retryLater), (ENOMEM, .retryLater), (EBADF, .serverFault),
            (133_133, .io),
        ] as [(Int32, DatastoreError.Code)])
    func storageFailuresHaveStatuses(number: Int32, code: DatastoreError.Code) {
        #expect(DatastoreError(errorNumber: number, "test").code == code)
    }

    /// A file system over the network may say anything.
    @Test func sizesThatCannotBeDoNotTrap() throws {
        var status = stat()
        status.st_mode = S_IFREG
        status.st_blocks = .max
        #expect(FileAttributes(status, fsid: 1)?.used == .max)
        status.st_blocks = 1 << 54
        #expect(FileAttributes(status, fsid: 1)?.used == 1 << 63)
        status.st_blocks = -1
        #expect(FileAttributes(status, fsid: 1)?.used == 0)
    }
}
