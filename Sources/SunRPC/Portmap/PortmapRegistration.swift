import CTIRPC
import Glibc

/// What rpcbind is told about a server (RFC 1833), so that clients find its ports.
///
/// The functions block for a few milliseconds, at most a few seconds: call them outside event loops.
public struct PortmapRegistration: Sendable {
    /// A program on a port.
    public struct Service: Hashable, Sendable {
        /// The program's number.
        public let program: UInt32
        /// The versions that it serves.
        public let versions: ClosedRange<UInt32>
        /// The TCP port where it listens.
        public let port: UInt16

        /// `program` in `versions` at `port`.
        public init(program: UInt32, versions: ClosedRange<UInt32>, port: UInt16) {
            self.program = program
            self.versions = versions
            self.port = port
        }
    }

    /// How clients reach the server; the raw value is the network identifier of RFC 5665.
    public enum Transport: String, Hashable, Sendable {
        /// TCP over IPv4.
        case tcp
        /// TCP over IPv6.
        case tcp6
    }

    private let services: [Service]
    private let transports: [Transport]

    /// Nothing is registered yet.
    public init(services: [Service], transports: [Transport]) {
        self.services = services
        self.transports = transports
    }

    /// Registers every service, in place of what a server has left behind that does not answer any more.
    ///
    /// All or nothing: after an error none of the services is registered, and those of another server that does answer
    /// are as they were.
    public func register() throws(PortmapError) {
        guard RPCBindProbe.isAnswering() else {
            throw PortmapError(code: .notRunning, message: "rpcbind does not answer")
        }
        for service in services {
            for transport in transports { try checkIsFree(service, transport) }
        }
        do throws(PortmapError) {
            for service in services {
                for transport in transports {
                    try register(service, transport)
                }
            }
        } catch {
            removeAll()
            throw error
        }
    }

    /// Takes back what ``register()`` registered, unless somebody else has been registered in its place since.
    public func unregister() {
        guard RPCBindProbe.isAnswering() else { return }
        removeAll()
    }

    private func removeAll() {
        for transport in transports {
            guard let configuration = getnetconfigent(transport.rawValue) else { continue }
            defer { freenetconfigent(configuration) }
            let ports = Self.registeredPorts(transport)
            for service in services {
                for version in service.versions where ports[Key(service.program, version)] == service.port {
                    _ = rpcb_unset(service.program, version, configuration)
                }
            }
        }
    }

    /// Throws when another server that answers is registered for one of the versions.
    private func checkIsFree(_ service: Service, _ transport: Transport) throws(PortmapError) {
        let ports = Self.registeredPorts(transport)
        for version in service.versions {
            guard let port = ports[Key(service.program, version)], port != service.port,
                RPCBindProbe.isAnswering(program: service.program, version: version, port: port)
            else { continue }
            throw PortmapError(
                code: .taken,
                message: """
                    another server is registered with rpcbind for program \(service.program) version \(version), and \
                    answers at port \(port): it stays registered, and this one is not
                    """)
        }
    }

    /// What rpcbind lists.
    private struct Key: Hashable {
        let program: UInt32
        let version: UInt32

        init(_ program: UInt32, _ version: UInt32) {
            self.program = program
            self.version = version
        }
    }

    /// The ports of all that is registered for a transport.
    private static func registeredPorts(_ transport: Transport) -> [Key: UInt16] {
        // One list is of all transports, whichever it is asked by.
        guard let configuration = getnetconfigent(Transport.tcp.rawValue) else { return [:] }
        defer { freenetconfigent(configuration) }
        guard let maps = rpcb_getmaps(configuration, "localhost") else { return [:] }
        defer { introspect_free_maps(maps) }
        var ports: [Key: UInt16] = [:]
        var next: UnsafeMutablePointer<rp__list>? = maps
        while let entry = next {
            let map = entry.pointee.rpcb_map
            next = entry.pointee.rpcb_next
            guard let identifier = map.r_netid, String(cString: identifier) == transport.rawValue,
                let address = map.r_addr, let port = port(ofUniversal: String(cString: address))
            else { continue }
            ports[Key(UInt32(map.r_prog), UInt32(map.r_vers))] = port
        }
        return ports
    }

    /// The port of a universal address (RFC 5665 section 5.2.3.3): the last two numbers.
    private static func port(ofUniversal address: String) -> UInt16? {
        let numbers = address.split(separator: ".").suffix(2).compactMap { UInt8($0) }
        return numbers.count == 2 ? UInt16(numbers[0]) << 8 | UInt16(numbers[1]) : nil
    }

    private func register(_ service: Service, _ transport: Transport) throws(PortmapError) {
        guard let configuration = getnetconfigent(transport.rawValue) else {
            throw PortmapError(
                code: .unknownTransport,
                message: "the transport \(transport.rawValue) is not in /etc/netconfig (package libtirpc-common)")
        }
        defer { freenetconfigent(configuration) }
        for version in service.versions {
            // A server that died has left its registration behind, and rpcb_set does not replace.
            _ = rpcb_unset(service.program, version, configuration)
            guard set(service, version, transport, configuration) else {
                throw PortmapError(
                    code: .refused,
                    message: "rpcbind refused program \(service.program) version \(version) on \(transport.rawValue) "
                        + "port \(service.port): registered by another user, or this needs root")
            }
        }
    }

    private func set(
        _ service: Service, _ version: UInt32, _ transport: Transport,
        _ configuration: UnsafeMutablePointer<netconfig>
    ) -> Bool {
        // The wildcard address: rpcbind answers each client with the address on which that client reached it.
        switch transport {
        case .tcp:
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = service.port.bigEndian
            let length = UInt32(MemoryLayout<sockaddr_in>.size)
            return introspect_rpcb_set(service.program, version, configuration, &address, length) != 0
        case .tcp6:
            var address = sockaddr_in6()
            address.sin6_family = sa_family_t(AF_INET6)
            address.sin6_port = service.port.bigEndian
            let length = UInt32(MemoryLayout<sockaddr_in6>.size)
            return introspect_rpcb_set(service.program, version, configuration, &address, length) != 0
        }
    }
}
