import BlockStorage
import Datastore
import Foundation

/// Carries out what administrators ask of a datastore.
struct ControlCommands: Sendable {
    let datastore: Datastore
    private let start = ContinuousClock.now

    init(_ datastore: Datastore) {
        self.datastore = datastore
    }

    /// The reply to one line, both without the line's end; blocks.
    func reply(to line: Data) -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let reply: ControlReply
        do {
            reply = self.reply(to: try JSONDecoder().decode(ControlRequest.self, from: line))
        } catch {
            let names = ControlRequest.Command.allCases.map(\.rawValue).joined(separator: ", ")
            reply = ControlReply(
                .badRequest, "expected a line of JSON, an object with a \"command\", one of \(names)")
        }
        return (try? encoder.encode(reply)) ?? Data(#"{"error":{"code":"failed","message":"no reply"}}"#.utf8)
    }

    /// Whether what a line asks for may take long.
    func takesLong(_ line: Data) -> Bool {
        (try? JSONDecoder().decode(ControlRequest.self, from: line))?.command.takesLong ?? false
    }

    private func reply(to request: ControlRequest) -> ControlReply {
        var reply = ControlReply()
        do throws(DatastoreError) {
            switch request.command {
            case .status: reply.status = status()
            case .statistics: reply.statistics = datastore.report()
            case .tier: reply.tier = datastore.tierStatus()
            case .drain:
                try datastore.drain(try request.image.map(path))
                reply.tier = datastore.tierStatus()
            case .warm:
                guard let name = request.image else { return ControlReply(.badRequest, "warm needs an image") }
                reply.warmed = try warm(try path(name))
            case .detach:
                try datastore.detachTier(givingUp: request.givesUp ?? false)
                reply.tier = datastore.tierStatus()
            case .attach:
                try datastore.attachTier()
                reply.tier = datastore.tierStatus()
            case .adopt:
                try datastore.attachTier(adopting: true)
                reply.tier = datastore.tierStatus()
            case .resolve:
                guard let name = request.image, let keepsLog = request.keepsLog else {
                    return ControlReply(.badRequest, "resolve needs an image, and whether the log's blocks count")
                }
                try datastore.resolve(try path(name), keepingLog: keepsLog)
                reply.tier = datastore.tierStatus()
            case .forget:
                guard let name = request.image else { return ControlReply(.badRequest, "forget needs an image") }
                try datastore.forget(name)
                reply.tier = datastore.tierStatus()
            }
        } catch {
            return ControlReply(error.code == .noEntry ? .noImage : .failed, error.message)
        }
        return reply
    }

    private func status() -> ControlReply.Status {
        let report = datastore.report()
        let tier = datastore.tierStatus()
        var images = report.images.reduce(into: [String: Int]()) { counts, image in
            let isOdd = !image.problems.isEmpty && image.state != "incomplete"
            counts[isOdd ? "\(image.state) with problems" : image.state, default: 0] += 1
        }
        images["not understood"] = report.foreignImages.flatMap { $0.isEmpty ? nil : $0.count }
        let refused = tier.images.count { $0.isRefused }
        images["refused"] = refused == 0 ? nil : refused
        return ControlReply.Status(
            processIdentifier: getpid(), uptime: start.duration(to: .now) / .seconds(1),
            exports: datastore.exports.map(\.path), introspects: datastore.configuration.introspects,
            images: images,
            cacheBytes: report.cache.bytes,
            cachedBytes: report.cache.resident.values.reduce(0, +) * report.cache.pageSize,
            tier: tier)
    }

    private func warm(_ path: String) throws(DatastoreError) -> ControlReply.Warmed {
        let (metadata, cached) = try datastore.warm(path)
        return ControlReply.Warmed(path: path, metadataBytes: metadata, cachedBytes: cached)
    }

    /// The path of the image with this name: the whole path, or the end of it that follows a slash, as it is or as it is
    /// shown.
    private func path(_ name: String) throws(DatastoreError) -> String {
        let paths = Set(datastore.imagePaths + datastore.tierStatus().images.map(\.path)).sorted()
        let names = Set([name, "\(ByteString(name))"])
        if let path = paths.first(where: names.contains) { return path }
        let matches = paths.filter { path in names.contains { path.hasSuffix("/\($0)") } }
        guard let match = matches.first else { throw DatastoreError(.noEntry, "\(name): no such image is served") }
        guard matches.count == 1 else {
            throw DatastoreError(.noEntry, "\(name): several images have this name: \(matches.joined(separator: ", "))")
        }
        return match
    }
}
