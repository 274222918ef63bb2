import BlockStorage
import Foundation
import Glibc
import NIOCore

@testable import Datastore

extension TierSchedule {
    var present: [Int] { model.withLock { $0.present } }

    /// Looks at all files through the server, and at what stands in them.
    func checkAll(_ when: String) throws {
        for file in model.withLock({ $0.files.indices }) { try check(file, when) }
        try checkQuietly()
    }

    /// Looks at what must stand in the files themselves, when nobody writes.
    func checkQuietly() throws {
        guard let datastore, !machine.isDead else { return }
        for file in present {
            let entry = model.withLock { $0.files[file] }
            guard entry.foreign == nil, let image = datastore.images.identity(of: entry.handle),
                !datastore.tier.register.contains(image)
            else { continue }
            try checkFile(file, "of an image that the register does not name")
        }
    }

    /// Looks at the file alone.
    func checkFile(_ file: Int, _ when: String) throws {
        let entry = model.withLock { $0.files[file] }
        guard entry.foreign == nil else { return }
        try check(file, stamps: onDisk(file), "in the file \(when)")
    }

    /// Looks at a file as a client does.
    func check(_ file: Int, _ when: String) throws {
        let entry = model.withLock { $0.files[file] }
        let stamps: [UInt64]
        do {
            stamps = try read(entry.handle)
        } catch let error as DatastoreError {
            guard !machine.isDead else { return }
            switch entry.existence {
            case .removed: return
            case .beingRemoved where error.code == .stale:
                return model.withLock { $0.files[file].existence = .removed }
            case .beingRemoved, .present:
                guard mayBeRefused(file) else {
                    let name = entry.name.debugDescription
                    throw violation("\(when): file \(file), \(name), is refused: \(error.message)")
                }
                if entry.foreign != nil { model.withLock { $0.files[file].isQuarantined = true } }
                return
            }
        }
        guard !machine.isDead else { return }
        guard entry.existence != .removed else { throw violation("\(when): file \(file) is there, and was removed") }
        if entry.existence == .beingRemoved { model.withLock { $0.files[file].existence = .present } }
        try check(file, stamps: stamps, when)
        // What another program wrote is what is served.
        guard entry.foreign != nil else { return }
        model.withLock { ($0.files[file].foreign, $0.files[file].isQuarantined) = (nil, false) }
    }

    func check(_ file: Int, stamps: [UInt64], _ when: String) throws {
        let entry = model.withLock { $0.files[file] }
        for (block, stamp) in stamps.enumerated() where !entry.blocks[block].allows(stamp) {
            let expected = "\(entry.blocks[block].latest), unanswered \(entry.blocks[block].unanswered.sorted())"
            throw violation("\(when): file \(file) has \(stamp) in block \(block): \(expected)")
        }
    }

    /// Whether there is a reason that a file is not served.
    func mayBeRefused(_ file: Int) -> Bool {
        let entry = model.withLock { $0.files[file] }
        return isLogAway || entry.foreign != nil
            || machine.faults.withLock { $0.unreachable[entry.inode] != nil || !$0.failing.isEmpty || $0.isDead }
    }

    // MARK: Bytes

    /// The stamps of all blocks, as a client reads them.
    func read(_ handle: HandleAlias) throws -> [UInt64] {
        guard let datastore else { return [] }
        var buffer = ByteBuffer()
        let range = Self.blocks
        _ = try datastore.read(handle, offset: UInt64(range.offset), count: range.length, as: .root, into: &buffer)
        return try stamps(Array(buffer.readableBytesView))
    }

    /// The stamps of all blocks, as they stand in the file.
    func onDisk(_ file: Int) throws -> [UInt64] {
        let path = "\(machine.export)/\(model.withLock { $0.files[file].name })"
        let device = try FileDevice(path: path, access: .readOnly, mode: .buffered)
        return try stamps(device.read(Self.blocks))
    }

    private func stamps(_ bytes: [UInt8]) throws -> [UInt64] {
        guard bytes.count == Self.blocks.length else { throw violation("a read of \(bytes.count) bytes") }
        return try bytes.withUnsafeBytes { bytes in
            try (0..<Self.blockCount).map { block in
                let start = block * Self.blockSize
                let part = UnsafeRawBufferPointer(rebasing: bytes[start..<start + Self.blockSize])
                let stamp = part.load(as: UInt64.self)
                guard part.bindMemory(to: UInt64.self).allSatisfy({ $0 == stamp }) else {
                    throw violation("block \(block) is torn, and begins with \(stamp)")
                }
                return stamp
            }
        }
    }

    static func content(_ stamp: UInt64, count: Int) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: count * blockSize) { buffer, initialized in
            UnsafeMutableRawBufferPointer(buffer).initializeMemory(as: UInt64.self, repeating: stamp)
            initialized = count * blockSize
        }
    }

    /// Finds out what names the files have: of one that was being renamed it was not known.
    func refreshNames() throws {
        var names: [UInt64: String] = [:]
        for name in try FileManager.default.contentsOfDirectory(atPath: machine.export) {
            var status = stat()
            if lstat("\(machine.export)/\(name)", &status) == 0 { names[UInt64(status.st_ino)] = name }
        }
        model.withLock { model in
            for file in model.files.indices {
                if let name = names[model.files[file].inode] { model.files[file].name = name }
            }
        }
    }
}
