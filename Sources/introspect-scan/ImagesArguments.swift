import ArgumentParser
import BlockStorage
import Synchronization

/// What subcommands take that look at several images at once.
struct ImagesArguments: ParsableArguments {
    @Argument(help: "The images: raw disks, VMDK descriptors or flat VMDKs.", completion: .file())
    var images: [String]

    @Option(name: .long, help: "Images at a time.")
    var jobs = 4

    @Flag(
        name: .long, help: "Print JSON, with an error in place of what could not be read; for several images, an array."
    )
    var json = false

    @Flag(name: .long, help: "Show no progress bar.")
    var noProgress = false

    func validate() throws {
        guard (1...64).contains(jobs) else { throw ValidationError("--jobs takes 1 to 64") }
    }

    /// Calls `body` with each image, some at a time: it returns what it found, and whether something was wrong.
    ///
    /// Returns what came of each, in the order of the images, and the exit status for what was wrong, if anything was.
    func forEachImage<Found: Sendable>(
        _ body: @escaping @Sendable (_ image: String, ProgressBar) throws(Refusal) -> (Found, hasProblems: Bool)
    ) -> (results: [ImageResult<Found>], status: ExitCode?) {
        let bar = ProgressBar(isEnabled: !noProgress, imageCount: images.count)
        let outcomes = Outcomes<Found>()
        Interruption.watching {
            let pool = IOPool(name: "images", threadCount: min(jobs, images.count))
            for (number, image) in images.enumerated() {
                pool.submit {
                    let result = Result { () throws(Refusal) in try body(image, bar) }
                    if case .failure(let refusal) = result {
                        bar.clear()
                        refusal.say()
                    }
                    outcomes.byNumber.withLock { $0[number] = result }
                }
            }
            pool.shutDown()
        }
        var (results, status): ([ImageResult<Found>], ExitCode?) = ([], nil)
        for (number, outcome) in outcomes.byNumber.withLock({ $0 }).sorted(by: { $0.key < $1.key }) {
            var own: ExitCode?
            switch outcome {
            case .success((let value, let hasProblems)):
                results.append(.found(value))
                if hasProblems { own = ExitStatus.problems }
            case .failure(let refusal):
                results.append(.refused(image: images[number], refusal))
                own = refusal.status
            }
            if let own, own.rawValue > status?.rawValue ?? 0 { status = own }
        }
        return (results, status)
    }
}

/// What came of an image.
enum ImageResult<Found: Sendable>: Sendable {
    case found(Found)
    case refused(image: String, Refusal)

    /// What was found, if it could be read.
    var found: Found? {
        if case .found(let found) = self { found } else { nil }
    }
}

extension ImageResult: Encodable where Found: Encodable {
    private enum Key: String, CodingKey {
        case image, error
    }

    func encode(to encoder: any Encoder) throws {
        switch self {
        case .found(let found): try found.encode(to: encoder)
        case .refused(let image, let refusal):
            var object = encoder.container(keyedBy: Key.self)
            try object.encode(image, forKey: .image)
            try object.encode(refusal.message, forKey: .error)
        }
    }
}

/// What came of each image, by its number.
private final class Outcomes<Found: Sendable>: Sendable {
    typealias Outcome = Result<(Found, hasProblems: Bool), Refusal>

    let byNumber = Mutex<[Int: Outcome]>([:])
}
