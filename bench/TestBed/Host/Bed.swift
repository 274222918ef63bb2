import Glibc
import Synchronization

/// What a run has started, mounted and made, and how each is undone; last made, first undone.
///
/// SIGINT and SIGTERM undo the same and end the process.
public final class Bed: Sendable {
    /// Something that will be undone: once, at the latest with the bed.
    public final class Undo: Sendable {
        fileprivate let what: String
        private let turn: Monitor
        private let action: Mutex<(@Sendable () throws(TestBedError) -> Void)?>

        fileprivate init(_ what: String, turn: Monitor, _ action: @escaping @Sendable () throws(TestBedError) -> Void) {
            self.what = what
            self.turn = turn
            self.action = Mutex(action)
        }

        /// Undoes it now, unless it is undone already.
        public func callAsFunction() throws(TestBedError) {
            Interruption.waitForEndIfInterrupted()
            let failure = turn.withLock { () -> TestBedError? in
                let action = action.withLock { action in
                    defer { action = nil }
                    return action
                }
                Interruption.undoBegan()
                defer { Interruption.undoEnded() }
                do throws(TestBedError) {
                    try action?()
                    return nil
                } catch {
                    return error
                }
            }
            if let failure { throw failure }
        }
    }

    private static let count = Atomic<Int>(0)

    /// Beds are numbered in the order of their making.
    let number: Int
    private let undos = Mutex<[Undo]>([])
    /// Held while something is undone, so that nothing is undone before what stands on it.
    private let turn = Monitor()

    /// An empty bed.
    public init() {
        number = Self.count.add(1, ordering: .relaxed).newValue
        Interruption.bedWasMade(self)
    }

    /// Runs `body` with a bed that is torn down afterwards, whether `body` returns or throws.
    public static func with<Value>(_ body: (Bed) throws -> Value) throws -> Value {
        let bed = Bed()
        defer { bed.tearDown() }
        return try body(bed)
    }

    /// Registers how to undo what was just done; `what` is named when that fails.
    @discardableResult
    public func register(_ what: String, _ action: @escaping @Sendable () throws(TestBedError) -> Void) -> Undo {
        let undo = Undo(what, turn: turn, action)
        undos.withLock { $0.append(undo) }
        return undo
    }

    /// Undoes everything, last first; failures are told on standard error and do not stop the rest.
    public func tearDown() {
        while let undo = undos.withLock({ $0.last }) {
            do throws(TestBedError) {
                try undo()
            } catch {
                tell("\(undo.what): \(error)")
            }
            undos.withLock { undos in
                undos.removeAll { $0 === undo }
            }
        }
        Interruption.waitForEndIfInterrupted()
        Interruption.bedIsGone(self)
    }
}
