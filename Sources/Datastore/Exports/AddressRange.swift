import Glibc
import NIOCore

/// The address of a client, IPv4 and IPv6 alike: an IPv4 address is its IPv4-mapped IPv6 address (RFC 4291
/// section 2.5.5.2), so that a client that arrives on a socket of either family is the same client.
public struct ClientAddress: Hashable, Sendable {
    let bits: UInt128
    private static let mappedPrefix: UInt128 = 0xffff << 32

    private init(bits: UInt128) {
        self.bits = bits
    }

    /// This machine.
    public static let loopback = ClientAddress(bits: mappedPrefix | 0x7f00_0001)

    /// The address of a connection's other end; a Unix-domain socket counts as this machine.
    public init(_ address: SocketAddress) {
        switch address {
        case .v4(let address):
            bits = Self.mappedPrefix | UInt128(UInt32(bigEndian: address.address.sin_addr.s_addr))
        case .v6(let address):
            bits = withUnsafeBytes(of: address.address.sin6_addr) {
                UInt128(bigEndian: $0.loadUnaligned(as: UInt128.self))
            }
        case .unixDomainSocket:
            self = .loopback
        }
    }

    /// The address written as `text`, in dotted or colon notation, or nil.
    public init?(_ text: some StringProtocol) {
        let text = String(text)
        var version4 = in_addr()
        var version6 = in6_addr()
        if inet_pton(AF_INET, text, &version4) == 1 {
            bits = Self.mappedPrefix | UInt128(UInt32(bigEndian: version4.s_addr))
        } else if inet_pton(AF_INET6, text, &version6) == 1 {
            bits = withUnsafeBytes(of: version6) { UInt128(bigEndian: $0.loadUnaligned(as: UInt128.self)) }
        } else {
            return nil
        }
    }

    var isVersion4: Bool { bits >> 32 == 0xffff }
}

/// A range of addresses in CIDR notation (RFC 4632): `10.0.0.0/8`, `fd00::/8`, or one address.
public struct AddressRange: Hashable, Sendable {
    private let network: UInt128
    private let mask: UInt128
    /// The range as it was written.
    public let description: String

    /// The range written as `text`, or nil when it is none, or has bits set that the prefix does not cover.
    public init?(_ text: String) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let address = parts.first.flatMap({ ClientAddress($0) }) else { return nil }
        let width = parts[0].contains(":") ? 128 : 32
        var length = width
        if parts.count == 2 {
            guard let number = Int(parts[1]), (0...width).contains(number) else { return nil }
            length = number
        }
        let hostBits = width - length
        mask = hostBits == 128 ? 0 : UInt128.max << hostBits
        network = address.bits
        guard network & ~mask == 0 else { return nil }
        description = text
    }

    /// 127.0.0.0/8 and ::1: this machine.
    public static let loopback = [AddressRange("127.0.0.0/8"), AddressRange("::1")].compactMap(\.self)

    /// Whether `address` is in the range.
    public func contains(_ address: ClientAddress) -> Bool {
        address.bits & mask == network
    }
}

extension AddressRange: CustomStringConvertible {}
