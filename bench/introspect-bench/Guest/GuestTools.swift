import ArgumentParser
import TestBed

/// `introspect-bench churn`: what a guest runs on its file system in tests.
struct ChurnCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "churn",
        abstract: "Create, write, truncate, rename and delete files in a directory, and check what is left.")

    @Argument(help: "The directory, empty at first.")
    var directory: String

    @Option(help: "Names the sequence of steps.")
    var seed: UInt64 = 1

    @Option(help: "The number of steps.")
    var operations = 1000

    @Flag(help: "Do nothing, but check what a run with the same seed and number of steps has left.")
    var verify = false

    func run() throws {
        if verify {
            print("\(try Churn.verify(in: directory, seed: seed, operations: operations)) files are as they should be")
        } else {
            var churn = Churn(in: directory, seed: seed, operations: operations)
            try churn.run()
        }
    }
}

/// `introspect-bench write-synchronously`: what a client does while its server is killed.
struct WriteSynchronouslyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "write-synchronously",
        abstract: "Write blocks to a file, each on stable storage before the next, and tell of each.")

    @Argument(help: "The file.")
    var file: String

    @Option(help: "The number of writes.")
    var count = 1000

    func run() throws {
        try SynchronousWriter.run(path: file, count: count) { say("\(SynchronousWriter.acknowledgement)\($0)") }
    }
}
