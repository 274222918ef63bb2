import ArgumentParser
import BlockStorage
import Introspection

/// `introspect-scan runs`.
struct RunsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "runs",
        abstract: "Lists the whole disk: what each run of bytes is and which inode it belongs to.",
        discussion: """
            Each line is OFFSET LENGTH CLASS OWNER, in bytes, sorted and without gaps. OWNER is the number of an inode, \
            or - for what belongs to none. Without owners, two neighbouring runs never have the same class.
            """)

    @OptionGroup var arguments: ImageArguments

    func run() throws {
        let (index, size) = try makeIndex(
            arguments.image, with: arguments.disk.images, sectorSize: arguments.disk.sectors.bytes,
            noProgress: arguments.noProgress)
        var output = OutputBuffer()
        var separator = "[\n"
        index.forEachRun(in: ByteRange(offset: 0, length: size)) { run in
            let (range, name) = (run.range, run.blockClass.name)
            if arguments.json {
                let owner = run.owner.map { "\($0)" } ?? "null"
                output.append(
                    separator
                        + #"{"offset":\#(range.offset),"length":\#(range.length),"class":"\#(name)","owner":\#(owner)}"#
                )
                separator = ",\n"
            } else {
                output.append("\(range.offset) \(range.length) \(name) \(run.owner.map { "\($0)" } ?? "-")\n")
            }
        }
        if arguments.json { output.append("\n]\n") }
        try output.flush()
        if complain(about: index.problems) { throw ExitStatus.problems }
    }
}

/// Reads the disk for the commands that tell of owners; ends the command when it cannot be read.
func makeIndex(
    _ image: String, with others: [String] = [], sectorSize: Int?, noProgress: Bool
) throws(ExitCode) -> (index: ObjectIndex, size: Int) {
    let open = try orComplain { () throws(Refusal) in
        try OpenImage(image, with: others, sectorSize: sectorSize)
    }
    let bar = ProgressBar(isEnabled: !noProgress)
    defer { bar.clear() }
    let index: ObjectIndex
    do throws(StorageError) {
        index = try Interruption.watching { () throws(StorageError) in
            try ObjectIndex(reader: open.reader, name: image) { progress in
                bar.show(progress, of: image)
                return !Interruption.isRequested
            }
        }
    } catch {
        bar.clear()
        complain("\(error)")
        throw ExitStatus.unreadable
    }
    guard !index.wasCancelled else { throw ExitStatus.interrupted }
    return (index, open.disk.size)
}
