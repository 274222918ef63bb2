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

    /// Registers every service, in place of whatever was registered for its program and versions.
    ///
    /// All or nothing: after an error none of the services is registered.
    public func register() throws(PortmapError) {
        guard RPCBindProbe.isAnswering() else {
            throw PortmapError(
                code: .notRunning,
                message: "rpcbind does not answer: clients have to be told the ports (mount option port=, mountport=)")
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

    /// Takes back what ``register()`` registered; what is not registered (any more) is passed over.
    public func unregister() {
        guard RPCBindProbe.isAnswering() else { return }
        removeAll()
    }

    private func removeAll() {
        for service in services {
            for transport in transports {
                guard let configuration = getnetconfigent(transport.rawValue) else { continue }
                defer { freenetconfigent(configuration) }
                for version in service.versions {
                    _ = rpcb_unset(service.program, version, configuration)
                }
            }
        }
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
