import Synchronization

/// The eight bytes that tell a client whether the server that answers is still the one that holds its unstable writes
/// (`writeverf3`, RFC 1813 section 3.3.7).
///
/// A new value is drawn at random when the server starts and whenever unstable data may have been lost.
final class WriteVerifier: Sendable {
    private let value = Atomic(UInt64.random(in: .min ... .max))

    /// The value now.
    var current: UInt64 { value.load(ordering: .acquiring) }

    /// Unstable data may be lost: clients are to send theirs again.
    func renew() {
        let old = current
        var new = old
        while new == old { new = .random(in: .min ... .max) }
        value.store(new, ordering: .releasing)
    }
}
