import ArgumentParser

/// Why an image cannot be worked on, or what is asked for in it cannot be had: a line to say, and the exit status.
struct Refusal: Error {
    let message: String
    let status: ExitCode

    /// The image cannot be read, or has not what is asked for.
    init(_ message: String, _ status: ExitCode = ExitStatus.unreadable) {
        self.message = message
        self.status = status
    }

    /// Somebody pressed Ctrl-C, who need not be told.
    static let interrupted = Refusal("interrupted", ExitStatus.interrupted)

    /// Says why, unless it goes without saying.
    func say() {
        if status != ExitStatus.interrupted { complain(message) }
    }
}

/// Calls `body`; when it refuses, says why and ends the command.
func orComplain<Result>(_ body: () throws(Refusal) -> Result) throws(ExitCode) -> Result {
    do throws(Refusal) {
        return try body()
    } catch {
        error.say()
        throw error.status
    }
}
