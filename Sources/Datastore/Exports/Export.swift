/// A directory that clients may mount.
public struct Export: Sendable {
    /// The export in file handles and, as `fsid`, in attributes: derived from the path, not from a device number, so
    /// that it stays the same over restarts.
    public let id: UInt64
    /// The absolute path without symbolic links.
    public let path: String
    /// Whether clients may change nothing.
    public let isReadOnly: Bool
    /// Whether user 0 and group 0 of clients count as nobody.
    public let squashesRoot: Bool
    /// Who may mount it.
    public let allowedClients: [AddressRange]

    /// Whether the client at `address` may use the export.
    public func admits(_ address: ClientAddress) -> Bool {
        allowedClients.contains { $0.contains(address) }
    }
}
