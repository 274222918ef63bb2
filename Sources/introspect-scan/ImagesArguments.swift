import ArgumentParser
import BlockStorage
import Synchronization

/// What subcommands take that look at several images at once.
struct ImagesArguments: ParsableArguments {
    @Argument(help: "The images: raw disks, VMDK descriptors or flat VMDKs.", completion: .file())
    var images: [String]

    @Option(name: .long, help: "Images at a time.")
    var jobs = 4

    @Flag(name: .long, help: "Print JSON; for several images, an array.")
    var json = false

    @Flag(name: .long, help: "Show no progress bar.")
    var noProgress = false

    func validate() throws {
        guard (1...64).contains(jobs) else { throw ValidationError("--jobs takes 1 to 64") }
    }

    /// Calls `body` with each image, some at a time: it returns what it found, and whether something was wrong.
    ///
    /// Returns what was found, in the order of the images, without those that could not be read, and the exit status
    /// for what was wrong, if anything was.
    func forEachImage<Found: Sendable>(
        _ body: @escaping @Sendable (_ image: String, ProgressBar) throws(ExitCode) -> (Found, hasProblems: Bool)
    ) -> (found: [Found], status: ExitCode?) {
        let bar = ProgressBar(isEnabled: !noProgress, imageCount: images.count)
        let outcomes = Outcomes<Found>()
        Interruption.watching {
            let pool = IOPool(name: "images", threadCount: min(jobs, images.count))
            for (number, image) in images.enumerated() {
                pool.submit {
                    let result = Result { () throws(ExitCode) in try body(image, bar) }
                    outcomes.byNumber.withLock { $0[number] = result }
                }
            }
            pool.shutDown()
        }
        var (found, status): ([Found], ExitCode?) = ([], nil)
        for (_, outcome) in outcomes.byNumber.withLock({ $0 }).sorted(by: { $0.key < $1.key }) {
            var own: ExitCode?
            switch outcome {
            case .success((let value, let hasProblems)):
                found.append(value)
                if hasProblems { own = ExitStatus.problems }
            case .failure(let code): own = code
            }
            if let own, own.rawValue > status?.rawValue ?? 0 { status = own }
        }
        return (found, status)
    }
}

/// What came of each image.
private final class Outcomes<Found: Sendable>: Sendable {
    typealias Outcome = Result<(Found, hasProblems: Bool), ExitCode>

    let byNumber = Mutex<[Int: Outcome]>([:])
}
