import Foundation
import Glibc
import Logging
import Testing

@testable import Datastore

/// A new directory with an export and a state directory in it, served.
///
/// `local` paths are on the server's side: what an administrator does behind the server's back.
final class TestDatastore {
    let scheme: DatastoreConfiguration.HandleScheme
    let directory: String
    private(set) var datastore: Datastore
    let root: Handle
    private var options: DatastoreConfiguration.Export
    private let searchPatience: Duration

    typealias Handle = HandleAlias

    init(
        _ scheme: DatastoreConfiguration.HandleScheme = .automatic, isReadOnly: Bool = false,
        squashesRoot: Bool = false, searchPatience: Duration = .seconds(60)
    ) throws {
        self.scheme = scheme
        self.searchPatience = searchPatience
        directory = FileManager.default.temporaryDirectory.appending(path: "introspect-\(UUID().uuidString)").path
        let export = "\(directory)/export"
        try FileManager.default.createDirectory(atPath: export, withIntermediateDirectories: true)
        // Everybody may come this far: the tests act as several users.
        chmod(directory, 0o755)
        chmod(export, 0o777)
        options = DatastoreConfiguration.Export(path: export, isReadOnly: isReadOnly, squashesRoot: squashesRoot)
        datastore = try Self.open(directory, options, scheme, searchPatience)
        root = try datastore.mount(export, client: .loopback)
    }

    deinit {
        datastore.close()
        try? FileManager.default.removeItem(atPath: directory)
    }

    /// As after a restart of the server, perhaps with other options; handles were issued before it.
    func restart(isReadOnly: Bool = false) throws {
        options.isReadOnly = isReadOnly
        datastore.close()
        datastore = try Self.open(directory, options, scheme, searchPatience)
    }

    /// Runs `body` while another server may have the directories.
    func whileClosed(_ body: () throws -> Void) throws {
        datastore.close()
        let outcome = Result { try body() }
        datastore = try Self.open(directory, options, scheme, searchPatience)
        try outcome.get()
    }

    private static func open(
        _ directory: String, _ export: DatastoreConfiguration.Export, _ scheme: DatastoreConfiguration.HandleScheme,
        _ searchPatience: Duration
    ) throws -> Datastore {
        try Datastore(exports: [export], state: "\(directory)/state", scheme, searchPatience: searchPatience)
    }

    func local(_ path: String) -> String { "\(directory)/export/\(path)" }

    func localStatus(_ path: String) throws -> stat {
        var status = stat()
        try #require(lstat(local(path), &status) == 0)
        return status
    }

    func localExists(_ path: String) -> Bool {
        var status = stat()
        return lstat(local(path), &status) == 0
    }

    func makeLocalFile(_ path: String, _ content: String = "") throws {
        try content.write(toFile: local(path), atomically: false, encoding: .utf8)
    }

    func content(_ path: String) throws -> String {
        try String(contentsOfFile: local(path), encoding: .utf8)
    }

    // MARK: Operations with what most tests do not vary

    func lookup(_ name: String, in directory: Handle? = nil, as user: Credentials = .root) throws -> Handle {
        try datastore.lookup(directory ?? root, FileName(name), as: user).handle
    }

    @discardableResult
    func createFile(_ name: String, in directory: Handle? = nil, mode: UInt32 = 0o644, as user: Credentials = .root)
        throws -> Handle
    {
        let mode = CreateMode.guarded(AttributeChanges(mode: mode))
        return try datastore.create(directory ?? root, FileName(name), mode, as: user).handle
    }

    @discardableResult
    func makeDirectory(
        _ name: String, in directory: Handle? = nil, mode: UInt32 = 0o755, as user: Credentials = .root
    ) throws -> Handle {
        let changes = AttributeChanges(mode: mode)
        return try datastore.makeDirectory(directory ?? root, FileName(name), changes, as: user).handle
    }

    func attributes(_ handle: Handle) throws -> FileAttributes {
        try datastore.getAttributes(handle, as: .root)
    }

    func names(in directory: Handle? = nil) throws -> [String] {
        var names: [String] = []
        let page = try datastore.readDirectory(
            directory ?? root, cookie: 0, verifier: 0, detail: .names, as: .root
        ) { entry in
            names.append(String(decoding: entry.name, as: UTF8.self))
            return true
        }
        #expect(page.isEndOfDirectory)
        return names.sorted()
    }
}

extension Datastore {
    /// As for a test: little memory, no introspection.
    convenience init(
        exports: [DatastoreConfiguration.Export], state: String,
        _ scheme: DatastoreConfiguration.HandleScheme = .automatic, searchPatience: Duration = .seconds(60)
    ) throws(DatastoreError) {
        var configuration = DatastoreConfiguration(exports: exports, stateDirectory: state)
        configuration.handleScheme = scheme
        configuration.cacheSize = 4 << 20
        configuration.searchPatience = searchPatience
        configuration.introspects = false
        try self.init(configuration: configuration, logger: Logger(label: "test"))
    }
}

let alice = Credentials(uid: 1001, gid: 1001)
let bob = Credentials(uid: 1002, gid: 1002, groups: [2000])

/// The kind of failure that `body` ends in; nil when it does not fail.
func failure(_ body: () throws -> some Any) -> DatastoreError.Code? {
    do {
        _ = try body()
        return nil
    } catch let error as DatastoreError {
        return error.code
    } catch let failure as MutationFailure {
        return failure.error.code
    } catch let failure as RenameFailure {
        return failure.error.code
    } catch let failure as LinkFailure {
        return failure.error.code
    } catch {
        Issue.record(error)
        return nil
    }
}

let isRoot = geteuid() == 0
