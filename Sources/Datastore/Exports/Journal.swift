import CLinux
import Glibc

/// What is known of how file systems order their metadata.
enum Journal {
    private static let ext: Int64 = 0xef53
    private static let xfs: Int64 = 0x5846_5342

    /// Whether one fsync commits every metadata change that came before it: of ext3 and ext4 with a journal and of
    /// XFS that is known, of any other file system it is not assumed.
    static func holdsAllMetadata(of descriptor: Int32, device: UInt64) -> Bool {
        switch linux_file_system_type(descriptor) {
        case xfs: true
        case ext: extHasJournal(device)
        default: false
        }
    }

    /// ext4's driver tells the number of the journal's thread in `journal_task`, under the name of the device; there
    /// is none without a journal.
    private static func extHasJournal(_ device: UInt64) -> Bool {
        let number = "\(linux_device_major(device)):\(linux_device_minor(device))"
        guard let resolved = realpath("/sys/dev/block/\(number)", nil) else { return false }
        defer { free(resolved) }
        guard let name = String(cString: resolved).split(separator: "/").last else { return false }
        let file = open("/sys/fs/ext4/\(name)/journal_task", O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return false }
        defer { close(file) }
        var text = [UInt8](repeating: 0, count: 16)
        guard read(file, &text, text.count) > 0, let first = text.first else { return false }
        return (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first)
    }
}
