import ArgumentParser
import BlockStorage
import GuestFilesystems
import Introspection

/// Which of the disk's file systems a command means.
struct VolumeChoice: ParsableArguments {
    @Option(name: .long, help: "The volume, as the summary names it; needed when several hold a file system.")
    var volume: String?
}

/// Opens the image and calls `body` with the file system that is meant; what cannot be had is said on standard error
/// and ends the command.
func withGuestFileSystem(
    _ path: String, _ arguments: DiskArguments, _ choice: VolumeChoice, _ body: (GuestFileSystem) throws -> Void
) throws {
    let open = try orComplain { () throws(Refusal) in try OpenImage(path, arguments) }
    var problems: [String] = []
    do {
        let found = try GuestFileSystem.all(on: open.reader, name: path, problems: &problems)
        try body(try fileSystem(of: found, path, choice))
    } catch let error as StorageError {
        try fail("\(error)")
    } catch let error as GuestFileError {
        try fail("\(path): \(error)")
    }
    if complain(about: problems) { throw ExitStatus.problems }

    func fail(_ message: String) throws {
        problems.forEach(complain)
        complain(message)
        throw ExitStatus.unreadable
    }

    func fileSystem(of found: [GuestFileSystem], _ path: String, _ choice: VolumeChoice) throws -> GuestFileSystem {
        let names = found.map(\.volume.name).joined(separator: ", ")
        guard !found.isEmpty else {
            problems.forEach(complain)
            complain("\(path): no file system that is understood; expected ext2, ext3 or ext4 in a volume of the disk")
            throw ExitStatus.unreadable
        }
        if let name = choice.volume {
            if let wanted = found.first(where: { $0.volume.name == name }) { return wanted }
            complain("\(path): no file system on a volume \(name); there are: \(names)")
            throw ExitStatus.unreadable
        }
        guard found.count == 1, let only = found.first else {
            complain("\(path): several file systems, choose one with --volume: \(names)")
            throw ExitStatus.unreadable
        }
        return only
    }
}

extension ExtInode.Kind {
    /// The word for it.
    var name: String {
        switch self {
        case .none: "none"
        case .pipe: "pipe"
        case .characterDevice: "character device"
        case .directory: "directory"
        case .blockDevice: "block device"
        case .regular: "regular file"
        case .symbolicLink: "symbolic link"
        case .socket: "socket"
        }
    }

    /// The letter that `ls -l` shows.
    var letter: Character {
        switch self {
        case .none: "?"
        case .pipe: "p"
        case .characterDevice: "c"
        case .directory: "d"
        case .blockDevice: "b"
        case .regular: "-"
        case .symbolicLink: "l"
        case .socket: "s"
        }
    }
}
